// A filter: which documents may pass, said about the values of their metadata.
//
// The text is AIP-160 (https://google.aip.dev/160) with `IN (...)`, `exists(...)` and `null`;
// docs/filters.md tells all of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/fields/row.h"

namespace vecino::fields {

// What a field is compared with.
struct Literal {
  ValueType type = ValueType::kString;  // kBool, kNumber or kString
  bool boolean = false;
  double number = 0;
  std::string text;                    // kString
  std::optional<int64_t> time_micros;  // kString that is a point in time
};

struct Condition {
  enum class Op {
    kExists,  // there is a value other than null
    kEqual,   // a value equals one of `literals`; text also when both are the same point in time
    kLess,    // a value is less than the literal; points in time as such, other text by its bytes
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kMatch,  // a text matches `pattern`
  };
  Op op = Op::kExists;
  std::string path;  // as FieldValue::path
  std::vector<Literal> literals;
  // Pieces between wildcards: the first must begin the text, the last end it, the others come
  // between in order. At least two.
  std::vector<std::string> pattern;
  int column = 0;  // of the field in the filter's text, from 1, in characters
};

// A tree whose leaves are conditions.
struct Expression {
  enum class Kind { kAll, kCondition, kAnd, kOr, kNot };  // kAll: every document passes
  Kind kind = Kind::kAll;
  std::vector<Expression> children;  // kAnd, kOr: two or more; kNot: one
  Condition condition;
};

// Limits on a filter; each is named in the error that enforces it.
struct FilterLimits {
  static constexpr size_t kMaxBytes = 32 << 10;
  static constexpr int kMaxDepth = 32;         // of parentheses and NOT
  static constexpr int kMaxConditions = 2000;  // elements of IN included
};

// Immutable; thread safe.
class Filter {
 public:
  // INVALID_ARGUMENT whose message begins with the column at fault. Empty text and `*`: every
  // document.
  static absl::StatusOr<std::shared_ptr<const Filter>> Parse(std::string_view text);

  const Expression& root() const { return root_; }
  // Equal for filters that let the same documents pass because they read the same.
  const std::string& key() const { return key_; }
  // How many values a document is compared with, at most; elements of IN count each.
  int comparisons() const { return comparisons_; }
  // Whether every document passes.
  bool all() const { return root_.kind == Expression::Kind::kAll; }

  // Whether a document with these values passes.
  bool Passes(const Row& row) const;

  // INVALID_ARGUMENT, naming column and field, for the first condition that compares a field that
  // has values with one of a type that none of them has. types: of the values at a path, among all
  // documents; 0 where there are none.
  absl::Status CheckTypes(const std::vector<TypeMask>& types) const;
  // The conditions whose types matter, in the order that CheckTypes wants.
  const std::vector<const Condition*>& typed() const { return typed_; }

 private:
  Filter() = default;

  std::string key_;
  Expression root_;
  std::vector<const Condition*> typed_;
  int comparisons_ = 0;
};

// The smallest set of pieces that a text must hold in order; see Condition::pattern.
bool Matches(std::string_view text, const std::vector<std::string>& pattern);

}  // namespace vecino::fields
