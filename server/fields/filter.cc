#include "server/fields/filter.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/fields/filter_lexer.h"
#include "server/fields/filter_parser.h"

namespace vecino::fields {
namespace {

using Op = Condition::Op;

void CollectTyped(const Expression& expression, std::vector<const Condition*>* typed) {
  if (expression.kind == Expression::Kind::kCondition && expression.condition.op != Op::kExists) {
    typed->push_back(&expression.condition);
  }
  for (const Expression& child : expression.children) CollectTyped(child, typed);
}

int CountComparisons(const Expression& expression) {
  if (expression.kind == Expression::Kind::kCondition) {
    return std::max(1, static_cast<int>(expression.condition.literals.size()));
  }
  int count = 0;
  for (const Expression& child : expression.children) count += CountComparisons(child);
  return count;
}

template <class T>
bool Ordered(Op op, const T& value, const T& literal) {
  switch (op) {
    case Op::kLess:
      return value < literal;
    case Op::kLessEqual:
      return value <= literal;
    case Op::kGreater:
      return value > literal;
    case Op::kGreaterEqual:
      return value >= literal;
    default:
      return value == literal;
  }
}

bool Compare(Op op, const FieldValue& value, const Literal& literal) {
  if (value.type != literal.type) return false;
  switch (value.type) {
    case ValueType::kBool:
      return value.boolean == literal.boolean;
    case ValueType::kNumber:
      return Ordered(op, value.number, literal.number);
    case ValueType::kString: {
      if (!literal.time_micros.has_value()) return Ordered(op, value.text, literal.text);
      int64_t micros = 0;
      if (ParseTime(value.text, &micros)) return Ordered(op, micros, *literal.time_micros);
      return op == Op::kEqual && value.text == literal.text;
    }
    case ValueType::kNull:
    case ValueType::kObject:
      return false;
  }
  return false;
}

bool Holds(const Condition& condition, const Row& row) {
  for (const FieldValue& value : row.values) {
    if (value.path != condition.path) continue;
    switch (condition.op) {
      case Op::kExists:
        if (value.type != ValueType::kNull) return true;
        break;
      case Op::kMatch:
        if (value.type == ValueType::kString && Matches(value.text, condition.pattern)) return true;
        break;
      default:
        for (const Literal& literal : condition.literals) {
          if (Compare(condition.op, value, literal)) return true;
        }
    }
  }
  return false;
}

bool Passes(const Expression& expression, const Row& row) {
  switch (expression.kind) {
    case Expression::Kind::kAll:
      return true;
    case Expression::Kind::kCondition:
      return Holds(expression.condition, row);
    case Expression::Kind::kAnd:
      for (const Expression& child : expression.children) {
        if (!Passes(child, row)) return false;
      }
      return true;
    case Expression::Kind::kOr:
      for (const Expression& child : expression.children) {
        if (Passes(child, row)) return true;
      }
      return false;
    case Expression::Kind::kNot:
      return !Passes(expression.children.front(), row);
  }
  return false;
}

std::string TypeNames(TypeMask mask) {
  std::string names;
  const auto add = [&](ValueType type, const char* name) {
    if ((mask & MaskOf(type)) == 0) return;
    absl::StrAppend(&names, names.empty() ? "" : " and ", name);
  };
  add(ValueType::kBool, "booleans");
  add(ValueType::kNumber, "numbers");
  add(ValueType::kString, "texts");
  add(ValueType::kObject, "objects");
  return names;
}

std::string Show(const Condition& condition) {
  if (condition.op == Op::kMatch) return "a text with wildcards";
  const Literal& literal = condition.literals.front();
  switch (literal.type) {
    case ValueType::kBool:
      return literal.boolean ? "the boolean true" : "the boolean false";
    case ValueType::kNumber:
      return absl::StrCat("the number ", literal.number);
    default:
      return absl::StrCat("the text \"", literal.text.substr(0, 64), "\"");
  }
}

}  // namespace

bool Matches(std::string_view text, const std::vector<std::string>& pattern) {
  const std::string& first = pattern.front();
  const std::string& last = pattern.back();
  if (text.size() < first.size() + last.size() || !text.starts_with(first) ||
      !text.ends_with(last)) {
    return false;
  }
  text.remove_prefix(first.size());
  text.remove_suffix(last.size());
  for (size_t i = 1; i + 1 < pattern.size(); ++i) {
    const size_t at = text.find(pattern[i]);
    if (at == std::string_view::npos) return false;
    text.remove_prefix(at + pattern[i].size());
  }
  return true;
}

absl::StatusOr<std::shared_ptr<const Filter>> Filter::Parse(std::string_view text) {
  auto root = ParseFilter(text);
  if (!root.ok()) return root.status();
  std::shared_ptr<Filter> filter(new Filter());
  filter->key_ = std::string(text);
  filter->root_ = *std::move(root);
  CollectTyped(filter->root_, &filter->typed_);
  filter->comparisons_ = CountComparisons(filter->root_);
  return filter;
}

bool Filter::Passes(const Row& row) const { return fields::Passes(root_, row); }

absl::Status Filter::CheckTypes(const std::vector<TypeMask>& types) const {
  for (size_t i = 0; i < typed_.size() && i < types.size(); ++i) {
    const Condition& condition = *typed_[i];
    const auto known = static_cast<TypeMask>(types[i] & ~MaskOf(ValueType::kNull));
    TypeMask wanted = 0;
    if (condition.op == Op::kMatch) wanted = MaskOf(ValueType::kString);
    for (const Literal& literal : condition.literals) wanted |= MaskOf(literal.type);
    if (known == 0 || (known & wanted) != 0) continue;
    // A list that was always empty, or an object that a key is looked for in.
    if (known == MaskOf(ValueType::kObject) && condition.op == Op::kEqual) continue;
    return FilterError(
        condition.column,
        absl::StrCat("field `", condition.path, "` has ",
                     TypeNames(static_cast<TypeMask>(known & ~MaskOf(ValueType::kObject)) != 0
                                   ? static_cast<TypeMask>(known & ~MaskOf(ValueType::kObject))
                                   : known),
                     " in this collection and is compared with ", Show(condition)));
  }
  return absl::OkStatus();
}

}  // namespace vecino::fields
