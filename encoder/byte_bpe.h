// The byte-level BPE of GPT-2 and RoBERTa, with ids identical to Hugging Face `tokenizers`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "encoder/subwords.h"

namespace vecino::encoder {

struct ByteBpeVocabulary {
  // By id, in GPT-2's byte alphabet, as a vocab.json has them. A token with a character outside the
  // alphabet (an added token may have one) is allowed and never comes up.
  std::vector<std::string> tokens;
  std::vector<std::pair<int32_t, int32_t>> merges;  // ids of left and right, best first
  // ByteLevel's: a piece handed to Append that does not begin with a space, and is not empty, is
  // read as if it did.
  bool add_prefix_space = false;
};

// INVALID_ARGUMENT when the token of a byte is missing, a token stands twice, or a merge names an
// id that is not there or makes a token that is not. Takes about a tenth of a second for 50,000
// tokens.
absl::StatusOr<std::unique_ptr<Subwords>> MakeByteBpe(const ByteBpeVocabulary& vocabulary);

}  // namespace vecino::encoder
