#include "server/fields/columns.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace vecino::fields {
namespace {

using Op = Condition::Op;

// Sorts two parallel arrays by value, then slot.
template <class T>
void SortPairs(std::vector<T>* values, std::vector<uint32_t>* slots) {
  std::vector<std::pair<T, uint32_t>> pairs(values->size());
  for (size_t i = 0; i < pairs.size(); ++i) pairs[i] = {(*values)[i], (*slots)[i]};
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  values->resize(pairs.size());
  slots->resize(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    (*values)[i] = pairs[i].first;
    (*slots)[i] = pairs[i].second;
  }
}

void AddSlots(std::span<const uint32_t> slots, Roaring* out) {
  if (!slots.empty()) out->addMany(slots.size(), slots.data());
}

// The range of sorted values for which `op` holds, as positions.
template <class T>
std::pair<size_t, size_t> RangeOf(const std::vector<T>& sorted, Op op, const T& literal) {
  const auto low =
      static_cast<size_t>(std::lower_bound(sorted.begin(), sorted.end(), literal) - sorted.begin());
  const auto high =
      static_cast<size_t>(std::upper_bound(sorted.begin(), sorted.end(), literal) - sorted.begin());
  switch (op) {
    case Op::kLess:
      return {0, low};
    case Op::kLessEqual:
      return {0, high};
    case Op::kGreater:
      return {high, sorted.size()};
    case Op::kGreaterEqual:
      return {low, sorted.size()};
    default:
      return {low, high};
  }
}

template <class T>
void AddRange(const std::vector<T>& sorted, const std::vector<uint32_t>& slots, Op op,
              const T& literal, Roaring* out) {
  const auto [begin, end] = RangeOf(sorted, op, literal);
  AddSlots(std::span(slots).subspan(begin, end - begin), out);
}

}  // namespace

void Columns::Column::AddText(std::string text, std::span<const uint32_t> slots) {
  Text place;
  place.count = static_cast<uint32_t>(slots.size());
  if (slots.size() >= kFrequent) {
    place.bitmap = static_cast<int32_t>(text_bitmaps.size());
    text_bitmaps.emplace_back(slots.size(), slots.data());
    text_bitmaps.back().runOptimize();
  } else {
    place.begin = static_cast<uint32_t>(text_slots.size());
    text_slots.insert(text_slots.end(), slots.begin(), slots.end());
  }
  texts.push_back(std::move(text));
  text_places.push_back(place);
}

void Columns::Column::AddTextTo(size_t i, Roaring* out) const {
  const Text& place = text_places[i];
  if (place.bitmap >= 0) {
    *out |= text_bitmaps[static_cast<size_t>(place.bitmap)];
  } else {
    AddSlots(std::span(text_slots).subspan(place.begin, place.count), out);
  }
}

std::shared_ptr<const Columns> Columns::Build(std::span<const Row> rows) {
  std::shared_ptr<Columns> result(new Columns());
  result->slots_ = static_cast<uint32_t>(rows.size());
  // By path: the texts with their slots, in order of slots.
  absl::flat_hash_map<std::string_view,
                      absl::flat_hash_map<std::string_view, std::vector<uint32_t>>>
      texts;
  for (uint32_t slot = 0; slot < rows.size(); ++slot) {
    for (const FieldValue& value : rows[slot].values) {
      auto at = result->columns_.find(value.path);
      if (at == result->columns_.end()) {
        if (result->columns_.size() == kMaxPaths) {
          result->overflow_ = true;
          continue;
        }
        at = result->columns_.emplace(value.path, Column()).first;
      }
      Column& column = at->second;
      column.types |= MaskOf(value.type);
      if (value.type == ValueType::kNull) continue;
      column.present.add(slot);
      switch (value.type) {
        case ValueType::kBool:
          (value.boolean ? column.yes : column.no).add(slot);
          break;
        case ValueType::kNumber:
          column.numbers.push_back(value.number);
          column.number_slots.push_back(slot);
          break;
        case ValueType::kString: {
          std::vector<uint32_t>& slots = texts[value.path][value.text];
          if (slots.empty() || slots.back() != slot) slots.push_back(slot);
          int64_t micros = 0;
          if (ParseTime(value.text, &micros)) {
            column.times.push_back(micros);
            column.time_slots.push_back(slot);
          }
          break;
        }
        case ValueType::kNull:
        case ValueType::kObject:
          break;
      }
    }
  }
  for (auto& [path, values] : texts) {
    Column& column = result->columns_.find(path)->second;
    std::vector<std::string_view> sorted;
    sorted.reserve(values.size());
    for (const auto& [text, slots] : values) sorted.push_back(text);
    std::sort(sorted.begin(), sorted.end());
    for (const std::string_view text : sorted) column.AddText(std::string(text), values[text]);
  }
  result->Finish();
  return result;
}

std::shared_ptr<const Columns> Columns::Merge(std::span<const Source> sources, uint32_t new_slots) {
  std::shared_ptr<Columns> result(new Columns());
  result->slots_ = new_slots;
  std::map<std::string_view, std::vector<std::pair<const Source*, const Column*>>> by_path;
  for (const Source& source : sources) {
    result->overflow_ = result->overflow_ || source.columns->overflow_;
    for (const auto& [path, column] : source.columns->columns_)
      by_path[path].push_back({&source, &column});
  }
  const auto map = [](const Source& source, const Roaring& slots, Roaring* out) {
    std::vector<uint32_t> mapped;
    mapped.reserve(slots.cardinality());
    for (const uint32_t slot : slots) {
      if (source.slots[slot] != kGone) mapped.push_back(source.slots[slot]);
    }
    AddSlots(mapped, out);
  };
  for (const auto& [path, parts] : by_path) {
    if (result->columns_.size() == kMaxPaths) {
      result->overflow_ = true;
      break;
    }
    Column merged;
    // Every text of every source, so that equal ones stand side by side in order of sources.
    struct Entry {
      std::string_view text;
      uint32_t part, index;
    };
    std::vector<Entry> entries;
    for (uint32_t p = 0; p < parts.size(); ++p) {
      const Source* const source = parts[p].first;
      const Column* const column = parts[p].second;
      merged.types |= column->types;
      map(*source, column->present, &merged.present);
      map(*source, column->yes, &merged.yes);
      map(*source, column->no, &merged.no);
      for (uint32_t i = 0; i < column->texts.size(); ++i)
        entries.push_back({column->texts[i], p, i});
      const auto take = [&](const auto& values, const std::vector<uint32_t>& slots, auto* out,
                            std::vector<uint32_t>* out_slots) {
        for (size_t i = 0; i < values.size(); ++i) {
          if (source->slots[slots[i]] == kGone) continue;
          out->push_back(values[i]);
          out_slots->push_back(source->slots[slots[i]]);
        }
      };
      take(column->numbers, column->number_slots, &merged.numbers, &merged.number_slots);
      take(column->times, column->time_slots, &merged.times, &merged.time_slots);
    }
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      const int order = a.text.compare(b.text);
      return order != 0 ? order < 0 : a.part < b.part;
    });
    std::vector<uint32_t> slots;
    for (size_t i = 0; i < entries.size();) {
      const std::string_view text = entries[i].text;
      slots.clear();
      for (; i < entries.size() && entries[i].text == text; ++i) {
        const Source* const source = parts[entries[i].part].first;
        const Column* const column = parts[entries[i].part].second;
        const Text& place = column->text_places[entries[i].index];
        const auto add = [&](uint32_t slot) {
          if (source->slots[slot] != kGone) slots.push_back(source->slots[slot]);
        };
        if (place.bitmap >= 0) {
          for (const uint32_t slot : column->text_bitmaps[static_cast<size_t>(place.bitmap)])
            add(slot);
        } else {
          for (uint32_t j = 0; j < place.count; ++j) add(column->text_slots[place.begin + j]);
        }
      }
      if (!slots.empty()) merged.AddText(std::string(text), slots);
    }
    if (merged.present.isEmpty() && (merged.types & MaskOf(ValueType::kNull)) == 0) continue;
    result->columns_.emplace(std::string(path), std::move(merged));
  }
  result->Finish();
  return result;
}

void Columns::Finish() {
  bytes_ = 0;
  const auto size = [](const Roaring& bitmap) {
    return static_cast<int64_t>(bitmap.getSizeInBytes()) + 64;
  };
  for (auto& [path, column] : columns_) {
    SortPairs(&column.numbers, &column.number_slots);
    SortPairs(&column.times, &column.time_slots);
    for (Roaring* bitmap : {&column.present, &column.yes, &column.no}) {
      bitmap->runOptimize();
      bytes_ += size(*bitmap);
    }
    for (const std::string& text : column.texts) bytes_ += static_cast<int64_t>(text.size());
    for (const Roaring& bitmap : column.text_bitmaps) bytes_ += size(bitmap);
    bytes_ += static_cast<int64_t>(
        path.size() + sizeof(Column) + column.texts.size() * (sizeof(std::string) + sizeof(Text)) +
        column.text_slots.size() * 4 + column.numbers.size() * 12 + column.times.size() * 12);
  }
}

Roaring Columns::Evaluate(const Condition& condition) const {
  Roaring out;
  const auto at = columns_.find(condition.path);
  if (at == columns_.end()) return out;
  const Column& column = at->second;
  if (condition.op == Op::kExists) return column.present;
  if (condition.op == Op::kMatch) {
    // Texts that begin alike stand together.
    const std::string& prefix = condition.pattern.front();
    for (auto i = static_cast<size_t>(
             std::lower_bound(column.texts.begin(), column.texts.end(), prefix) -
             column.texts.begin());
         i < column.texts.size() && column.texts[i].starts_with(prefix); ++i) {
      if (Matches(column.texts[i], condition.pattern)) column.AddTextTo(i, &out);
    }
    return out;
  }
  for (const Literal& literal : condition.literals) {
    switch (literal.type) {
      case ValueType::kBool:
        out |= literal.boolean ? column.yes : column.no;
        break;
      case ValueType::kNumber:
        AddRange(column.numbers, column.number_slots, condition.op, literal.number, &out);
        break;
      case ValueType::kString: {
        if (literal.time_micros.has_value()) {
          AddRange(column.times, column.time_slots, condition.op, *literal.time_micros, &out);
          if (condition.op != Op::kEqual) break;
        }
        const auto [begin, end] = RangeOf(column.texts, condition.op, literal.text);
        for (size_t i = begin; i < end; ++i) column.AddTextTo(i, &out);
        break;
      }
      case ValueType::kNull:
      case ValueType::kObject:
        break;
    }
  }
  return out;
}

Roaring Columns::Evaluate(const Expression& expression) const {
  const auto everything = [&] {
    Roaring all;
    all.addRange(0, slots_);
    return all;
  };
  switch (expression.kind) {
    case Expression::Kind::kAll:
      return everything();
    case Expression::Kind::kCondition:
      return Evaluate(expression.condition);
    case Expression::Kind::kAnd: {
      Roaring result = Evaluate(expression.children.front());
      for (size_t i = 1; i < expression.children.size() && !result.isEmpty(); ++i) {
        const Expression& child = expression.children[i];
        if (child.kind == Expression::Kind::kNot) {
          result -= Evaluate(child.children.front());
        } else {
          result &= Evaluate(child);
        }
      }
      return result;
    }
    case Expression::Kind::kOr: {
      Roaring result = Evaluate(expression.children.front());
      for (size_t i = 1; i < expression.children.size(); ++i)
        result |= Evaluate(expression.children[i]);
      return result;
    }
    case Expression::Kind::kNot:
      return everything() - Evaluate(expression.children.front());
  }
  return {};
}

TypeMask Columns::TypesAt(std::string_view path) const {
  const auto at = columns_.find(path);
  return at == columns_.end() ? TypeMask{0} : at->second.types;
}

const Roaring* Columns::Present(std::string_view path) const {
  const auto at = columns_.find(path);
  return at == columns_.end() ? nullptr : &at->second.present;
}

void Columns::ForEachValue(std::string_view path, ValueFn fn) const {
  const auto at = columns_.find(path);
  if (at == columns_.end()) return;
  const Column& column = at->second;
  Literal value;
  value.type = ValueType::kBool;
  for (const bool boolean : {false, true}) {
    value.boolean = boolean;
    const Roaring& slots = boolean ? column.yes : column.no;
    if (!slots.isEmpty()) fn(value, slots);
  }
  value = {};
  value.type = ValueType::kNumber;
  for (size_t i = 0; i < column.numbers.size();) {
    value.number = column.numbers[i];
    const size_t begin = i;
    while (i < column.numbers.size() && column.numbers[i] == value.number) ++i;
    fn(value, Roaring(i - begin, column.number_slots.data() + begin));
  }
  value = {};
  for (size_t i = 0; i < column.texts.size(); ++i) {
    value.text = column.texts[i];
    const Text& place = column.text_places[i];
    if (place.bitmap >= 0) {
      fn(value, column.text_bitmaps[static_cast<size_t>(place.bitmap)]);
    } else {
      fn(value, Roaring(place.count, column.text_slots.data() + place.begin));
    }
  }
}

}  // namespace vecino::fields
