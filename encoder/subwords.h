// Text to the ids of a model's subwords: what differs from one kind of tokenizer to the next. The
// rest (special tokens, what stands around a text, the cut) is tokenizer.h's.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace vecino::encoder {

// Thread safety: const methods are safe from any thread at once. No method blocks or throws.
class Subwords {
 public:
  virtual ~Subwords() = default;

  // Appends the ids of `text`, which is a whole text or what stands between special tokens in one.
  // Bytes that are not UTF-8 are read as U+FFFD, one for each maximal ill-formed part (utf8.h).
  virtual void Append(std::string_view text, std::vector<int32_t>* ids) const = 0;
};

}  // namespace vecino::encoder
