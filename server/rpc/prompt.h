// The prompt of AnswerQuestion: a template, numbered sources, a question, and a budget.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vecino::rpc {

inline constexpr size_t kMaxTemplateBytes = 64 << 10;

// A text counts as one token for each so many bytes at least: a tokenizer may take what it does not
// know, such as base64, for one token however long it is.
inline constexpr size_t kMostBytesPerToken = 16;

// The template of requests that bring none: answer from the sources alone, cite their numbers, say
// when they do not answer.
std::string_view DefaultPromptTemplate();

// A text with one `{sources}` and one `{question}`. Immutable.
class PromptTemplate {
 public:
  // INVALID_ARGUMENT naming `prompt_template`: a placeholder that is missing or stands twice, more
  // than kMaxTemplateBytes.
  static absl::StatusOr<PromptTemplate> Parse(std::string_view text);

  // What is put in is not looked at: it may hold placeholders of its own.
  std::string Fill(std::string_view sources, std::string_view question) const;

 private:
  std::string before_, between_, after_;
  bool question_first_ = false;
};

// Tokens of a text.
using TokenCounter = std::function<absl::StatusOr<int>(std::string_view text)>;

struct PromptBudget {
  int tokens = 0;
  size_t bytes = 0;  // of the whole prompt
};

struct Prompt {
  std::string text;
  std::vector<size_t> sources;  // indexes of those in it, ascending; the first is `[1]`
  int token_count = 0;          // at most the budget's
};

// Puts in the sources, best first, that fit, each whole as `[number] text`; those that do not fit
// or are blank are left out, and later ones that fit go in all the same. Only when the first one
// that is not blank does not fit, as much of it goes in as does, up to the end of a sentence where
// one comes in its second half, else of a word, else (a text without spaces) of a character; ` ...`
// stands for the rest. Without sources the prompt says `(none)`.
// INVALID_ARGUMENT naming `prompt_token_budget` when template and question alone exceed the tokens,
// `prompt_template` when they exceed the bytes; and the counter's errors. Never splits a character.
absl::StatusOr<Prompt> BuildPrompt(const PromptTemplate& form, std::string_view question,
                                   std::span<const std::string_view> sources,
                                   const PromptBudget& budget, const TokenCounter& count);

}  // namespace vecino::rpc
