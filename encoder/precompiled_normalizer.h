// sentencepiece's precompiled charsmap, applied as Hugging Face's normalizers.Precompiled applies
// it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vecino::encoder {

// Thread safety: const methods are safe from any thread at once.
class PrecompiledNormalizer {
 public:
  // `charsmap`: the size in bytes of a double array (darts-clone) as a little-endian uint32, the
  // array, and the strings that its values point into, each ended by a zero. INVALID_ARGUMENT when
  // a part of it leads outside, or a string is not UTF-8.
  static absl::StatusOr<PrecompiledNormalizer> Make(std::string_view charsmap);

  // Appends `text`, which is UTF-8, normalised to `out`: a grapheme cluster of fewer than 6 bytes
  // becomes what the shortest key at its front maps to, all of it; of other clusters, and of those
  // no key begins, each character does so by itself or stays.
  void Append(std::string_view text, std::string* out) const;

 private:
  PrecompiledNormalizer() = default;

  absl::Status Check() const;
  void MarkPlain();
  std::optional<std::string_view> Find(std::string_view text) const;

  std::vector<uint32_t> units_;  // every walk from the root by Find() stays inside: Check() says so
  std::string strings_;          // UTF-8; values are offsets of characters in it, or its end
  std::array<bool, 256> plain_;  // ASCII bytes that stay as they are before another ASCII byte
};

}  // namespace vecino::encoder
