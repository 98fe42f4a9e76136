// Text to token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/subwords.h"

namespace vecino::encoder {

// The token ids of one text, or of a pair, special tokens included.
struct Tokens {
  std::vector<int32_t> ids;  // at most max_tokens
  int count = 0;             // how many there were before the cut, special tokens included
  bool truncated = false;    // count > ids.size()
  int second = 0;            // of a pair: the index of the first id of the second text
};

// Thread safety: const methods are safe from any thread at once. No method blocks or throws.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `text`, cut to max_tokens (>= 2) by dropping from the end, special tokens kept.
  // Bytes that are not UTF-8 are read as U+FFFD, one for each maximal ill-formed part, as Python's
  // decode(errors="replace") does.
  virtual Tokens Encode(std::string_view text, int max_tokens) const = 0;

  // The ids of `text` alone, all of them, without special tokens around; for EncodePair of ids.
  virtual std::vector<int32_t> Ids(std::string_view text) const = 0;

  // Both texts in one row, as cross-encoders take a query and a document; max_tokens >= 4. When
  // they do not fit, the longer one is cut down to the shorter, then both (Hugging Face's
  // "longest_first").
  virtual Tokens EncodePair(std::span<const int32_t> first, std::span<const int32_t> second,
                            int max_tokens) const = 0;
  Tokens EncodePair(std::string_view first, std::string_view second, int max_tokens) const {
    return EncodePair(Ids(first), Ids(second), max_tokens);
  }

  // Ids for padding a batch.
  virtual int32_t pad_id() const = 0;
};

// A token that is found in the raw text before anything else is done to it.
struct AddedToken {
  std::string content;  // not empty
  int32_t id = 0;
  bool lstrip = false, rstrip = false;  // takes the white space before, after it along
};

// What stands around texts, and in them as it is.
struct SpecialTokens {
  int32_t begin = 0, end = 0, pad = 0;  // [CLS], [SEP], [PAD]; <s>, </s>, <pad>
  // Pairs: begin A end B end, or begin A end end B end.
  bool two_between = false;
  std::vector<AddedToken> added;
};

// A tokenizer of that kind: of several added tokens that match at one place the longest is taken.
std::unique_ptr<Tokenizer> MakeTokenizer(std::unique_ptr<const Subwords> subwords,
                                         SpecialTokens special);

}  // namespace vecino::encoder
