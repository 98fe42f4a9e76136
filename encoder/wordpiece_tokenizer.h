// BERT's WordPiece tokenizer, with ids identical to Hugging Face `tokenizers`.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "encoder/tokenizer.h"

namespace vecino::encoder {

// Options of BertNormalizer and WordPiece, as in a tokenizer.json.
struct WordPieceOptions {
  bool lowercase = true;
  std::optional<bool> strip_accents;  // not set (null in a tokenizer.json): as lowercase
  bool handle_chinese_chars = true;
  bool clean_text = true;
  int max_word_chars = 100;  // longer words become `unk`; 1 to 10,000
  std::string unk = "[UNK]";
};

// Reads the text of a vocab.txt: one token a line, the id is the line number from 0; a line may end
// in CR LF. INVALID_ARGUMENT when `unk` is missing, a token is empty, not UTF-8 or stands twice, or
// max_word_chars is out of range.
absl::StatusOr<std::unique_ptr<Subwords>> MakeWordPiece(std::string_view vocabulary,
                                                        const WordPieceOptions& options);

// The same with BERT's special tokens: [PAD] [UNK] [CLS] [SEP] [MASK] inside a text are those
// tokens, found before normalisation, as a tokenizer.json with these added tokens (special, not
// normalized, not stripped) says; every text is wrapped in [CLS] … [SEP]. INVALID_ARGUMENT also
// when one of the five is missing.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeWordPieceTokenizer(std::string_view vocabulary,
                                                                  const WordPieceOptions& options);

}  // namespace vecino::encoder
