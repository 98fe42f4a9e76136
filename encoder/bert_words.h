// Text to normalised words: Hugging Face's BertNormalizer and BertPreTokenizer in one pass.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "encoder/wordpiece_tokenizer.h"

namespace vecino::encoder {

// Thread safety: const methods are safe from any thread at once.
class BertWords {
 public:
  // One word: UTF-8 and never empty. `chars` is its number of code points; once that passes
  // max_word_chars, counting may stop and `word` may hold only the front of the word.
  using Sink = absl::FunctionRef<void(std::string_view word, int chars)>;

  explicit BertWords(const WordPieceOptions& options);

  // Hands the words of `text` to `sink` in order. Ill-formed UTF-8 is read as U+FFFD (see
  // DecodeUtf8).
  void Split(std::string_view text, Sink sink) const;

 private:
  class Pass;

  // What becomes of an ASCII byte: a byte of a word as it is to be written, or one of these. The
  // last stands for every byte from 0x80, which begins a character that needs the tables.
  enum Ascii : uint16_t { kRemoved = 0x100, kWhite, kPunctuation, kNotAscii };

  WordPieceOptions options_;
  bool strip_accents_;
  std::array<uint16_t, 256> ascii_;
};

}  // namespace vecino::encoder
