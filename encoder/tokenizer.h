// Text to token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vecino::encoder {

// The token ids of one text, special tokens included.
struct Tokens {
  std::vector<int32_t> ids;  // at most max_tokens
  int count = 0;             // how many there were before the cut, special tokens included
  bool truncated = false;    // count > ids.size()
};

// Thread safety: const methods are safe from any thread at once. No method blocks or throws.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `text`, cut to max_tokens (>= 2) by dropping from the end, special tokens kept.
  // Bytes that are not UTF-8 are read as U+FFFD, one for each maximal ill-formed part, as Python's
  // decode(errors="replace") does.
  virtual Tokens Encode(std::string_view text, int max_tokens) const = 0;

  // Ids for padding a batch.
  virtual int32_t pad_id() const = 0;
};

}  // namespace vecino::encoder
