// BERT's WordPiece tokenizer, with ids identical to Hugging Face `tokenizers`.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "encoder/tokenizer.h"

namespace vecino::encoder {

// Options of BertNormalizer and WordPiece, as in a tokenizer.json.
struct WordPieceOptions {
  bool lowercase = true;
  bool strip_accents = true;
  bool handle_chinese_chars = true;
  bool clean_text = true;
  int max_word_chars = 100;  // longer words become [UNK]
};

// Builds the tokenizer from the text of a vocab.txt: one token a line, the id is the line number.
// INVALID_ARGUMENT when one of [PAD] [UNK] [CLS] [SEP] [MASK] is missing or a token stands twice.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeWordPieceTokenizer(std::string_view vocabulary,
                                                                  const WordPieceOptions& options);

}  // namespace vecino::encoder
