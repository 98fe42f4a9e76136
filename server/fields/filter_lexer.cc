#include "server/fields/filter_lexer.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vecino::fields {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Letters, digits and what stands inside of identifiers, numbers and plain dates; all beyond ASCII.
bool IsWord(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '+' || c == '/' || c == '@' || c == '$' || c == '#' || c == '%' ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

absl::Status FilterError(int column, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("column ", column, ": ", absl::string_view(why.data(), why.size())));
}

void Lexer::Advance() {
  ++at_;
  // The other bytes of a character.
  while (at_ < text_.size() && (static_cast<unsigned char>(text_[at_]) & 0xc0) == 0x80) ++at_;
  ++column_;
}

absl::StatusOr<Token> Lexer::Quoted(Token token) {
  const char quote = text_[at_];
  token.kind = Token::Kind::kQuoted;
  Advance();
  while (at_ < text_.size() && text_[at_] != quote) {
    const size_t begin = at_;
    if (text_[at_] == '*') {
      token.text.push_back(kWildcard);
      Advance();
      continue;
    }
    if (text_[at_] != '\\') {
      Advance();
      token.text.append(text_.substr(begin, at_ - begin));
      continue;
    }
    const int column = column_;
    Advance();
    if (at_ == text_.size()) break;
    const char c = text_[at_];
    if (c == 'n') {
      token.text.push_back('\n');
    } else if (c == 't') {
      token.text.push_back('\t');
    } else if (c == 'r') {
      token.text.push_back('\r');
    } else if (c == '\\' || c == '"' || c == '\'' || c == '*') {
      token.text.push_back(c);
    } else {
      return FilterError(column,
                         "a backslash in quotes stands before one of \\ \" ' * n t r only; "
                         "write \\\\ for a backslash");
    }
    Advance();
  }
  if (at_ == text_.size()) {
    return FilterError(token.column,
                       absl::StrCat("this ", std::string(1, quote), " is not closed"));
  }
  Advance();
  return token;
}

absl::StatusOr<Token> Lexer::Next() {
  Token token;
  while (at_ < text_.size() && IsSpace(text_[at_])) {
    token.spaced = true;
    Advance();
  }
  token.column = column_;
  if (at_ == text_.size()) return token;
  const char c = text_[at_];
  const char next = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
  const auto is = [&](Token::Kind kind, int characters = 1) {
    for (int i = 0; i < characters; ++i) Advance();
    token.kind = kind;
    return token;
  };
  switch (c) {
    case '"':
    case '\'':
      return Quoted(std::move(token));
    case '(':
      return is(Token::Kind::kOpen);
    case ')':
      return is(Token::Kind::kClose);
    case ',':
      return is(Token::Kind::kComma);
    case '=':
      return next == '=' ? is(Token::Kind::kEqual, 2) : is(Token::Kind::kEqual);
    case ':':
      return is(Token::Kind::kHas);
    case '*':
      return is(Token::Kind::kStar);
    case '<':
      return next == '=' ? is(Token::Kind::kLessEqual, 2) : is(Token::Kind::kLess);
    case '>':
      return next == '=' ? is(Token::Kind::kGreaterEqual, 2) : is(Token::Kind::kGreater);
    case '!':
      if (next == '=') return is(Token::Kind::kNotEqual, 2);
      return FilterError(column_, "a `!` without `=` means nothing; write NOT");
    case '.':
      if (!IsDigit(next)) return is(Token::Kind::kDot);
      break;
    case '-':
      if (!IsDigit(next) && next != '.') return is(Token::Kind::kMinus);
      break;
    default:
      if (!IsWord(c)) {
        return FilterError(column_, absl::StrCat("`", std::string(1, c),
                                                 "` means nothing here; put text into quotes"));
      }
  }
  token.kind = Token::Kind::kWord;
  const size_t begin = at_;
  // A dot belongs to a number, not to a path.
  const bool number = IsDigit(c) || c == '-' || c == '.';
  while (at_ < text_.size() && (IsWord(text_[at_]) || (number && text_[at_] == '.'))) Advance();
  token.text = std::string(text_.substr(begin, at_ - begin));
  return token;
}

}  // namespace vecino::fields
