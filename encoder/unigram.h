// sentencepiece's Unigram, with ids identical to Hugging Face `tokenizers`: the tokenizer of XLM-R.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "encoder/subwords.h"

namespace vecino::encoder {

// A tokenizer.json as encoder/export/unigram_source.py reads it. A text is normalised (charsmap,
// Strip, Replace), split at white space, given its marks (Metaspace: U+2581 for each space and in
// front) and cut into the pieces whose scores have the greatest sum.
struct UnigramVocabulary {
  // By id: piece and score, as tokenizer.json's model has them. NaN for an id that the model lacks,
  // of an added token: no text has it.
  std::vector<std::pair<std::string, double>> pieces;
  int32_t unk_id = 0;
  std::string charsmap;  // precompiled_charsmap, raw bytes; empty: texts are not normalised by one
  bool strip_left = false, strip_right = false;  // Strip
  std::string collapse_spaces;   // Replace(" {2,}"): what takes their place; empty: they stay
  bool whitespace_split = true;  // WhitespaceSplit before Metaspace
  bool prefix_space = true;      // Metaspace's prepend_scheme "always"; false: "never"
};

// INVALID_ARGUMENT when unk_id is not the id of a piece, a piece is not UTF-8, a score is infinite,
// or the charsmap is damaged (precompiled_normalizer.h). Of equal pieces the last counts.
absl::StatusOr<std::unique_ptr<Subwords>> MakeUnigram(const UnigramVocabulary& vocabulary);

}  // namespace vecino::encoder
