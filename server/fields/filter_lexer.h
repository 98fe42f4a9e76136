// The words of a filter's text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vecino::fields {

struct Token {
  enum class Kind {
    kEnd,
    kWord,    // unquoted: a field, a keyword, a number, a value
    kQuoted,  // between quotes, escapes undone
    kOpen,
    kClose,
    kComma,
    kDot,
    kMinus,  // before a term: NOT
    kEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kHas,
    kStar,
  };
  Kind kind = Kind::kEnd;
  // kWord, kQuoted: what it says. In a quoted text a `*` without a backslash before it stands as
  // kWildcard.
  std::string text;
  int column = 0;       // of its first character, from 1, in characters
  bool spaced = false;  // white space stands before it
};

// Stands for a wildcard in a quoted text; no UTF-8 has this byte.
inline constexpr char kWildcard = '\xff';

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  // INVALID_ARGUMENT with the column: a character that means nothing, a quote that does not end, a
  // bad escape.
  absl::StatusOr<Token> Next();

 private:
  void Advance();  // by one character
  absl::StatusOr<Token> Quoted(Token token);

  const std::string_view text_;
  size_t at_ = 0;
  int column_ = 1;
};

// An error at a column.
absl::Status FilterError(int column, std::string_view why);

}  // namespace vecino::fields
