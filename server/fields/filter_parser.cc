#include "server/fields/filter_parser.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/fields/filter_lexer.h"

namespace vecino::fields {
namespace {

using Op = Condition::Op;
using TokenKind = Token::Kind;

std::string Plain(std::string text) {
  std::replace(text.begin(), text.end(), kWildcard, '*');
  return text;
}

bool IsKeyword(const Token& token, std::string_view word) {
  return token.kind == TokenKind::kWord && token.text == word;
}

bool IsAnyKeyword(const Token& token) {
  return IsKeyword(token, "AND") || IsKeyword(token, "OR") || IsKeyword(token, "NOT") ||
         IsKeyword(token, "IN");
}

std::string Name(const Token& token) {
  switch (token.kind) {
    case TokenKind::kEnd:
      return "the end";
    case TokenKind::kWord:
      return absl::StrCat("`", token.text, "`");
    case TokenKind::kQuoted:
      return absl::StrCat("\"", Plain(token.text), "\"");
    case TokenKind::kOpen:
      return "`(`";
    case TokenKind::kClose:
      return "`)`";
    case TokenKind::kComma:
      return "`,`";
    case TokenKind::kDot:
      return "`.`";
    case TokenKind::kMinus:
      return "`-`";
    case TokenKind::kStar:
      return "`*`";
    default:
      return "a comparison";
  }
}

Expression All(std::vector<Expression> children, Expression::Kind kind) {
  if (children.size() == 1) return std::move(children.front());
  Expression all;
  all.kind = kind;
  all.children = std::move(children);
  return all;
}

Expression Not(Expression child) {
  Expression result;
  result.kind = Expression::Kind::kNot;
  result.children.push_back(std::move(child));
  return result;
}

Expression Leaf(Op op, const std::string& path, int column) {
  Expression leaf;
  leaf.kind = Expression::Kind::kCondition;
  leaf.condition.op = op;
  leaf.condition.path = path;
  leaf.condition.column = column;
  return leaf;
}

// The grammar of AIP-160, in which OR binds tighter than AND:
//   expression = factor { [ AND ] factor }
//   factor     = term { OR term }
//   term       = [ NOT | "-" ] simple
//   simple     = "(" expression ")" | restriction
class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) {}

  absl::StatusOr<Expression> Run() {
    if (absl::Status status = Advance(); !status.ok()) return status;
    if (token_.kind == TokenKind::kEnd) return Expression();
    if (token_.kind == TokenKind::kStar) {
      const Token star = token_;
      if (absl::Status status = Advance(); !status.ok()) return status;
      if (token_.kind == TokenKind::kEnd) return Expression();
      return FilterError(star.column, "`*` alone stands for every document; nothing follows it");
    }
    auto result = ParseExpression(0);
    if (!result.ok()) return result;
    if (token_.kind != TokenKind::kEnd) {
      return FilterError(token_.column,
                         absl::StrCat("expected the end, AND or OR, found ", Name(token_)));
    }
    return result;
  }

 private:
  absl::Status Advance() {
    auto token = lexer_.Next();
    if (!token.ok()) return token.status();
    token_ = *std::move(token);
    return absl::OkStatus();
  }
  absl::Status Count(int column) {
    if (++conditions_ <= FilterLimits::kMaxConditions) return absl::OkStatus();
    return FilterError(column, absl::StrCat("more than ", FilterLimits::kMaxConditions,
                                            " conditions and values, which is the most"));
  }
  absl::Status CheckDepth(int depth) const {
    if (depth <= FilterLimits::kMaxDepth) return absl::OkStatus();
    return FilterError(token_.column,
                       absl::StrCat("parentheses and NOT are more than ", FilterLimits::kMaxDepth,
                                    " deep, which is the most"));
  }

  absl::StatusOr<Expression> ParseExpression(int depth) {
    std::vector<Expression> children;
    while (true) {
      auto factor = ParseFactor(depth);
      if (!factor.ok()) return factor;
      children.push_back(*std::move(factor));
      if (IsKeyword(token_, "AND")) {
        if (absl::Status status = Advance(); !status.ok()) return status;
      } else if (token_.kind == TokenKind::kEnd || token_.kind == TokenKind::kClose) {
        return All(std::move(children), Expression::Kind::kAnd);
      } else if (token_.kind != TokenKind::kWord && token_.kind != TokenKind::kQuoted &&
                 token_.kind != TokenKind::kOpen && token_.kind != TokenKind::kMinus) {
        return FilterError(
            token_.column,
            absl::StrCat("expected AND, OR or another condition, found ", Name(token_)));
      }
    }
  }

  absl::StatusOr<Expression> ParseFactor(int depth) {
    std::vector<Expression> children;
    while (true) {
      auto term = ParseTerm(depth);
      if (!term.ok()) return term;
      children.push_back(*std::move(term));
      if (!IsKeyword(token_, "OR")) return All(std::move(children), Expression::Kind::kOr);
      if (absl::Status status = Advance(); !status.ok()) return status;
    }
  }

  absl::StatusOr<Expression> ParseTerm(int depth) {
    if (absl::Status status = CheckDepth(depth); !status.ok()) return status;
    if (IsKeyword(token_, "NOT") || token_.kind == TokenKind::kMinus) {
      if (absl::Status status = Advance(); !status.ok()) return status;
      auto child = ParseTerm(depth + 1);
      if (!child.ok()) return child;
      return Not(*std::move(child));
    }
    if (token_.kind == TokenKind::kOpen) {
      if (absl::Status status = Advance(); !status.ok()) return status;
      auto inner = ParseExpression(depth + 1);
      if (!inner.ok()) return inner;
      if (absl::Status status = Expect(TokenKind::kClose, "`)`"); !status.ok()) return status;
      return inner;
    }
    return ParseRestriction();
  }

  absl::Status Expect(TokenKind kind, const char* what) {
    if (token_.kind != kind) {
      return FilterError(token_.column, absl::StrCat("expected ", what, ", found ", Name(token_)));
    }
    return Advance();
  }

  // A field's path; token_ is then what follows it.
  absl::StatusOr<std::string> ParsePath() {
    std::string path;
    while (true) {
      const bool name = (token_.kind == TokenKind::kWord && !IsAnyKeyword(token_)) ||
                        token_.kind == TokenKind::kQuoted;
      if (!name) {
        return FilterError(token_.column,
                           absl::StrCat("expected the name of a field, found ", Name(token_)));
      }
      // Only a number has dots of its own.
      if (token_.kind == TokenKind::kWord && token_.text.find('.') != std::string::npos) {
        return FilterError(token_.column,
                           absl::StrCat("expected the name of a field, found the number `",
                                        token_.text, "`; put a name into quotes"));
      }
      path += PathPart(Plain(token_.text));
      if (absl::Status status = Advance(); !status.ok()) return status;
      if (token_.kind != TokenKind::kDot) return path;
      path.push_back('.');
      if (absl::Status status = Advance(); !status.ok()) return status;
    }
  }

  absl::StatusOr<Expression> ParseRestriction() {
    const Token first = token_;
    auto path = ParsePath();
    if (!path.ok()) return path.status();
    if (absl::Status status = Count(first.column); !status.ok()) return status;
    if (token_.kind == TokenKind::kOpen) return ParseFunction(first, *path);
    if (IsKeyword(token_, "IN")) return ParseIn(*path, first.column);
    if (IsKeyword(token_, "NOT")) {
      if (absl::Status status = Advance(); !status.ok()) return status;
      if (!IsKeyword(token_, "IN")) {
        return FilterError(token_.column,
                           absl::StrCat("expected IN after NOT, found ", Name(token_)));
      }
      auto in = ParseIn(*path, first.column);
      if (!in.ok()) return in;
      return Not(*std::move(in));
    }
    const Token comparison = token_;
    switch (comparison.kind) {
      case TokenKind::kEqual:
      case TokenKind::kNotEqual:
      case TokenKind::kLess:
      case TokenKind::kLessEqual:
      case TokenKind::kGreater:
      case TokenKind::kGreaterEqual:
      case TokenKind::kHas:
        break;
      default: {
        const std::string_view word = first.text;
        const bool lower = word == "and" || word == "or" || word == "not" || word == "in" ||
                           comparison.text == "in" || comparison.text == "and" ||
                           comparison.text == "or";
        return FilterError(
            comparison.column,
            absl::StrCat("expected a comparison (= != < <= > >= : IN) after the field ",
                         Name(first), ", found ", Name(comparison),
                         lower ? "; AND, OR, NOT and IN are written in capitals" : ""));
      }
    }
    if (absl::Status status = Advance(); !status.ok()) return status;
    return ParseComparison(*path, first.column, comparison);
  }

  absl::StatusOr<Expression> ParseFunction(const Token& first, const std::string& path) {
    if (first.kind != TokenKind::kWord || path != "exists") {
      return FilterError(first.column, absl::StrCat("there is no function ", Name(first),
                                                    "; there is exists(FIELD)"));
    }
    if (absl::Status status = Advance(); !status.ok()) return status;
    const int column = token_.column;
    auto field = ParsePath();
    if (!field.ok()) return field.status();
    if (absl::Status status = Expect(TokenKind::kClose, "`)`"); !status.ok()) return status;
    return Leaf(Op::kExists, *field, column);
  }

  absl::StatusOr<Expression> ParseIn(const std::string& path, int column) {
    if (absl::Status status = Advance(); !status.ok()) return status;
    if (absl::Status status = Expect(TokenKind::kOpen, "`(` after IN"); !status.ok()) return status;
    Expression in = Leaf(Op::kEqual, path, column);
    bool null = false;
    std::vector<Expression> patterns;
    while (true) {
      Value value;
      if (absl::Status status = ParseValue(&value); !status.ok()) return status;
      if (absl::Status status = Count(value.column); !status.ok()) return status;
      if (value.star)
        return FilterError(value.column, "`*` is no value of a list; write exists(FIELD)");
      if (value.null) {
        null = true;
      } else if (value.pattern.empty()) {
        in.condition.literals.push_back(std::move(value.literal));
      } else {
        Expression match = Leaf(Op::kMatch, path, column);
        match.condition.pattern = std::move(value.pattern);
        patterns.push_back(std::move(match));
      }
      if (token_.kind != TokenKind::kComma) break;
      if (absl::Status status = Advance(); !status.ok()) return status;
    }
    if (absl::Status status = Expect(TokenKind::kClose, "`,` or `)`"); !status.ok()) return status;
    if (!in.condition.literals.empty()) patterns.push_back(std::move(in));
    if (null) patterns.push_back(Not(Leaf(Op::kExists, path, column)));
    return All(std::move(patterns), Expression::Kind::kOr);
  }

  struct Value {
    Literal literal;
    bool null = false;
    bool star = false;                 // `*` alone
    std::vector<std::string> pattern;  // not empty: text with wildcards
    int column = 0;
  };

  absl::Status ParseValue(Value* value) {
    value->column = token_.column;
    Literal& literal = value->literal;
    if (token_.kind == TokenKind::kStar) {
      value->star = true;
      return Advance();
    }
    if (token_.kind == TokenKind::kQuoted) {
      if (token_.text.find(kWildcard) != std::string::npos) {
        size_t begin = 0;
        for (size_t at; (at = token_.text.find(kWildcard, begin)) != std::string::npos;
             begin = at + 1) {
          value->pattern.push_back(token_.text.substr(begin, at - begin));
        }
        value->pattern.push_back(token_.text.substr(begin));
      }
      SetText(Plain(token_.text), &literal);
      return Advance();
    }
    if (token_.kind != TokenKind::kWord || IsAnyKeyword(token_)) {
      return FilterError(
          token_.column,
          absl::StrCat(
              "expected a value, found ", Name(token_),
              token_.kind == TokenKind::kOpen ? "; for one of several write FIELD IN (A, B)" : ""));
    }
    const std::string& word = token_.text;
    if (word == "null") {
      value->null = true;
    } else if (word == "true" || word == "false") {
      literal.type = ValueType::kBool;
      literal.boolean = word == "true";
    } else if (double number = 0; absl::SimpleAtod(word, &number) && LooksNumeric(word)) {
      if (!std::isfinite(number)) {
        return FilterError(token_.column, absl::StrCat("the number `", word, "` is too large"));
      }
      literal.type = ValueType::kNumber;
      literal.number = number == 0 ? 0 : number;
    } else {
      SetText(word, &literal);
    }
    return Advance();
  }

  // Not `inf`, `nan` or `0x1`.
  static bool LooksNumeric(std::string_view word) {
    return word.find_first_not_of("0123456789+-.eE") == std::string_view::npos;
  }
  static void SetText(std::string text, Literal* literal) {
    literal->type = ValueType::kString;
    int64_t micros = 0;
    if (ParseTime(text, &micros)) literal->time_micros = micros;
    literal->text = std::move(text);
  }

  absl::StatusOr<Expression> ParseComparison(const std::string& path, int column,
                                             const Token& comparison) {
    Value value;
    if (absl::Status status = ParseValue(&value); !status.ok()) return status;
    const bool equality = comparison.kind == TokenKind::kEqual ||
                          comparison.kind == TokenKind::kNotEqual ||
                          comparison.kind == TokenKind::kHas;
    if (!equality && (value.null || value.star || value.literal.type == ValueType::kBool)) {
      return FilterError(value.column, absl::StrCat(value.null   ? "null"
                                                    : value.star ? "`*`"
                                                                 : "a boolean",
                                                    " has no order; compare with = or !="));
    }
    if (!equality && !value.pattern.empty()) {
      return FilterError(value.column, "a text with wildcards has no order; write \\* for a star");
    }
    Expression leaf = Leaf(Op::kEqual, path, column);
    switch (comparison.kind) {
      case TokenKind::kLess:
        leaf.condition.op = Op::kLess;
        break;
      case TokenKind::kLessEqual:
        leaf.condition.op = Op::kLessEqual;
        break;
      case TokenKind::kGreater:
        leaf.condition.op = Op::kGreater;
        break;
      case TokenKind::kGreaterEqual:
        leaf.condition.op = Op::kGreaterEqual;
        break;
      default:
        if (value.star) leaf.condition.op = Op::kExists;
        if (!value.pattern.empty()) leaf.condition.op = Op::kMatch;
        break;
    }
    const bool negated = comparison.kind == TokenKind::kNotEqual;
    if (value.null) {
      Expression exists = Leaf(Op::kExists, path, column);
      return negated ? std::move(exists) : Not(std::move(exists));
    }
    const bool has = comparison.kind == TokenKind::kHas && leaf.condition.op == Op::kEqual &&
                     value.literal.type == ValueType::kString;
    Expression key;
    if (has) key = Leaf(Op::kExists, absl::StrCat(path, ".", PathPart(value.literal.text)), column);
    if (leaf.condition.op == Op::kMatch) {
      leaf.condition.pattern = std::move(value.pattern);
    } else if (leaf.condition.op != Op::kExists) {
      leaf.condition.literals.push_back(std::move(value.literal));
    }
    if (has) return All({std::move(leaf), std::move(key)}, Expression::Kind::kOr);
    if (!negated) return leaf;
    // A document without the field is not unequal: NOT a = b finds those, too.
    if (leaf.condition.op == Op::kExists) return Not(std::move(leaf));
    return All({Leaf(Op::kExists, path, column), Not(std::move(leaf))}, Expression::Kind::kAnd);
  }

  Lexer lexer_;
  Token token_;
  int conditions_ = 0;
};

}  // namespace

absl::StatusOr<Expression> ParseFilter(std::string_view text) {
  if (text.size() > FilterLimits::kMaxBytes) {
    return FilterError(1, absl::StrCat("the filter has ", text.size(), " bytes, may have ",
                                       FilterLimits::kMaxBytes));
  }
  return Parser(text).Run();
}

}  // namespace vecino::fields
