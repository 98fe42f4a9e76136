#include "server/fields/passing.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vecino::fields {
namespace {

uint64_t FirstLabel(const FieldPart& part) { return part.segment->label(0); }
uint64_t LastLabel(const FieldPart& part) { return part.segment->label(part.segment->size() - 1); }

void CollectConditions(const Expression& expression, std::vector<const Condition*>* conditions) {
  if (expression.kind == Expression::Kind::kCondition) conditions->push_back(&expression.condition);
  for (const Expression& child : expression.children) CollectConditions(child, conditions);
}

void AddTypesOfChunk(const OpenChunk& chunk, const Filter& filter, std::vector<TypeMask>* types) {
  const int rows = chunk.size();
  for (int row = 0; row < rows; ++row) {
    for (const FieldValue& value : chunk.row(row).values) {
      for (size_t i = 0; i < types->size(); ++i) {
        if (value.path == filter.typed()[i]->path) (*types)[i] |= MaskOf(value.type);
      }
    }
  }
}

Roaring ToRoaring(const index::Tombstones& dead) {
  Roaring slots;
  for (size_t word = 0; word < dead.word_count(); ++word) {
    for (uint64_t bits = dead.word(word); bits != 0; bits &= bits - 1) {
      slots.add(static_cast<uint32_t>(word * 64 + static_cast<size_t>(std::countr_zero(bits))));
    }
  }
  return slots;
}

}  // namespace

absl::Status CheckFilter(std::span<const std::shared_ptr<const FieldView>> views,
                         const Filter& filter) {
  std::vector<TypeMask> types(filter.typed().size());
  for (const auto& view : views) {
    for (size_t i = 0; i < types.size(); ++i) {
      const std::string& path = filter.typed()[i]->path;
      for (const FieldPart& part : view->parts) types[i] |= part.segment->columns().TypesAt(path);
    }
  }
  // Further types only allow more, so the rows of chunks matter only where something is missing.
  const bool all_known = std::all_of(types.begin(), types.end(), [](TypeMask mask) {
    return (mask & ~MaskOf(ValueType::kNull)) != 0;
  });
  if (!all_known || !filter.CheckTypes(types).ok()) {
    for (const auto& view : views) AddTypesOfChunk(*view->chunk, filter, &types);
  }
  if (absl::Status status = filter.CheckTypes(types); !status.ok()) return status;
  std::vector<const Condition*> conditions;
  CollectConditions(filter.root(), &conditions);
  for (const auto& view : views) {
    for (const FieldPart& part : view->parts) {
      for (const Condition* condition : conditions) {
        if (!part.segment->columns().Overflows(condition->path)) continue;
        return absl::FailedPreconditionError(absl::StrCat(
            "column ", condition->column, ": field `", condition->path,
            "` cannot be filtered by: the collection's documents have more than ",
            Columns::kMaxPaths, " different fields, and it is not among those that are indexed"));
      }
    }
  }
  return absl::OkStatus();
}

Passing::Passing(std::shared_ptr<const FieldView> view, const Filter& filter, uint64_t first,
                 uint64_t last, Evaluations* known)
    : view_(std::move(view)), first_(first), last_(last) {
  static const Evaluations::Slots nothing = std::make_shared<const Roaring>();
  for (const FieldPart& part : view_->parts) {
    Evaluations::Slots& slots = parts_.emplace_back(nothing);
    if (LastLabel(part) < first || FirstLabel(part) > last) continue;
    const FieldSegment& segment = *part.segment;
    slots = known == nullptr ? nullptr : known->FindSlots(segment.id(), filter.key());
    if (slots != nullptr) continue;
    slots = std::make_shared<const Roaring>(segment.columns().Evaluate(filter.root()));
    if (known != nullptr) known->PutSlots(segment.id(), filter.key(), slots);
  }
  const OpenChunk& chunk = *view_->chunk;
  chunk_rows_ = chunk.size();
  for (int i = 0; i < chunk_rows_; ++i) {
    const uint64_t label = chunk.label(i);
    chunk_[static_cast<size_t>(i)] = label >= first && label <= last && filter.Passes(chunk.row(i));
  }
}

Passing::Place Passing::Find(uint64_t label) const {
  Place place;
  if (label < first_ || label > last_) return place;
  const auto at =
      std::partition_point(view_->parts.begin(), view_->parts.end(),
                           [&](const FieldPart& part) { return LastLabel(part) < label; });
  if (at != view_->parts.end()) {
    place.part = static_cast<size_t>(at - view_->parts.begin());
    place.slot = at->segment->FindSlot(label);
    return place;
  }
  int low = 0, high = chunk_rows_;
  while (low < high) {
    const int middle = (low + high) / 2;
    (view_->chunk->label(middle) < label ? low : high) =
        view_->chunk->label(middle) < label ? middle + 1 : middle;
  }
  place.part = parts_.size();
  if (low < chunk_rows_ && view_->chunk->label(low) == label) {
    place.slot = static_cast<uint32_t>(low);
  }
  return place;
}

bool Passing::Contains(uint64_t label) const {
  const Place place = Find(label);
  if (place.slot == Columns::kGone) return false;
  return place.part < parts_.size() ? parts_[place.part]->contains(place.slot) : chunk_[place.slot];
}

void Passing::Exclude(std::span<const uint64_t> labels) {
  std::vector<std::shared_ptr<Roaring>> own(parts_.size());  // others may hold what is in parts_
  for (const uint64_t label : labels) {
    const Place place = Find(label);
    if (place.slot == Columns::kGone) continue;
    if (place.part == parts_.size()) {
      chunk_[place.slot] = false;
      continue;
    }
    std::shared_ptr<Roaring>& slots = own[place.part];
    if (slots == nullptr) slots = std::make_shared<Roaring>(*parts_[place.part]);
    slots->remove(place.slot);
  }
  for (size_t i = 0; i < own.size(); ++i) {
    if (own[i] != nullptr) parts_[i] = std::move(own[i]);
  }
}

void Passing::ForEach(absl::FunctionRef<void(uint64_t label)> fn) const {
  for (size_t part = 0; part <= parts_.size(); ++part) ForEachIn(part, fn);
}

void Passing::ForEachIn(size_t part, absl::FunctionRef<void(uint64_t label)> fn) const {
  if (part == parts_.size()) {
    for (int i = 0; i < chunk_rows_; ++i) {
      if (chunk_[static_cast<size_t>(i)]) fn(view_->chunk->label(i));
    }
    return;
  }
  ForEachSlotOf(part, [&](uint32_t, uint64_t label) { fn(label); });
}

void Passing::ForEachSlotOf(size_t part,
                            absl::FunctionRef<void(uint32_t slot, uint64_t label)> fn) const {
  const FieldSegment& segment = *view_->parts[part].segment;
  auto at = parts_[part]->begin();
  const auto end = parts_[part]->end();
  if (FirstLabel(view_->parts[part]) < first_) {
    const std::vector<uint64_t>& labels = segment.labels();
    const auto first = std::lower_bound(labels.begin(), labels.end(), first_);
    if (first == labels.end()) return;
    at.equalorlarger(static_cast<uint32_t>(first - labels.begin()));
  }
  for (; at != end; ++at) {
    const uint64_t label = segment.label(*at);
    if (label > last_) return;
    fn(*at, label);
  }
}

int64_t Passing::size() const {
  int64_t size = std::count(chunk_.begin(), chunk_.begin() + chunk_rows_, true);
  for (const auto& slots : parts_) size += static_cast<int64_t>(slots->cardinality());
  return size;
}

std::vector<uint64_t> Passing::SlotsOf(size_t part) const {
  const FieldSegment& segment = *view_->parts[part].segment;
  std::vector<uint64_t> words((segment.size() + 63) / 64);
  ForEachSlotOf(part,
                [&](uint32_t slot, uint64_t) { words[slot / 64] |= uint64_t{1} << (slot % 64); });
  return words;
}

Roaring Passing::LiveOf(size_t part) const {
  const index::Tombstones& dead = *view_->parts[part].dead;
  return dead.dead() == 0 ? *parts_[part] : *parts_[part] - ToRoaring(dead);
}

int64_t Passing::CountLive() const {
  int64_t count = 0;
  for (size_t i = 0; i < parts_.size(); ++i) count += static_cast<int64_t>(LiveOf(i).cardinality());
  for (int i = 0; i < chunk_rows_; ++i) {
    count += chunk_[static_cast<size_t>(i)] && !view_->chunk->dead().IsDead(i);
  }
  return count;
}

void Passing::ForEachValue(std::string_view path,
                           absl::FunctionRef<void(const Literal& value, int64_t count)> fn,
                           int64_t* present) const {
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Columns& columns = view_->parts[i].segment->columns();
    const Roaring* const there = columns.Present(path);
    if (there == nullptr) continue;
    const Roaring live = LiveOf(i);
    *present += static_cast<int64_t>(live.and_cardinality(*there));
    columns.ForEachValue(path, [&](const Literal& value, const Roaring& slots) {
      const auto count = static_cast<int64_t>(live.and_cardinality(slots));
      if (count > 0) fn(value, count);
    });
  }
  for (int i = 0; i < chunk_rows_; ++i) {
    if (!chunk_[static_cast<size_t>(i)] || view_->chunk->dead().IsDead(i)) continue;
    bool any = false;
    std::vector<Literal> seen;
    for (const FieldValue& value : view_->chunk->row(i).values) {
      if (value.path != path || value.type == ValueType::kNull) continue;
      any = true;
      if (value.type == ValueType::kObject) continue;
      Literal literal;
      literal.type = value.type;
      literal.boolean = value.boolean;
      literal.number = value.number;
      literal.text = value.text;
      const bool known = std::any_of(seen.begin(), seen.end(), [&](const Literal& other) {
        return other.type == literal.type && other.boolean == literal.boolean &&
               other.number == literal.number && other.text == literal.text;
      });
      if (known) continue;
      fn(literal, 1);
      seen.push_back(std::move(literal));
    }
    *present += any;
  }
}

}  // namespace vecino::fields
