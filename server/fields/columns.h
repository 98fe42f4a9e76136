// The values of many documents' metadata, by field: what filters, facets and type checks read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <roaring/roaring.hh>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/fields/filter.h"
#include "server/fields/row.h"

namespace vecino::fields {

// Documents are slots, 0 to slots() - 1. Immutable after it was built; thread safe.
//
// One column for each path: a compressed bitmap for each frequent text (Chambi et al. 2016, "Better
// bitmap performance with Roaring bitmaps"), a list of slots for each rare one, and for what has an
// order (numbers, points in time) the values sorted, each with its slot.
class Columns {
 public:
  // Paths that are indexed; a path beyond them is known to be there and no more, see Overflows.
  static constexpr size_t kMaxPaths = 1000;
  // From so many documents on a text has a bitmap instead of a list.
  static constexpr uint32_t kFrequent = 256;

  static constexpr uint32_t kGone = UINT32_MAX;

  // rows: one for each slot.
  static std::shared_ptr<const Columns> Build(std::span<const Row> rows);

  // The columns of several segments as one. slots: for each old slot of a source its new one,
  // rising from source to source and within each, or kGone. new_slots: how many there are.
  struct Source {
    const Columns* columns = nullptr;
    std::span<const uint32_t> slots;
  };
  static std::shared_ptr<const Columns> Merge(std::span<const Source> sources, uint32_t new_slots);

  // docs/storage_format.md describes the bytes. Parse returns DATA_LOSS for any that Serialize did
  // not write.
  std::string Serialize() const;
  static absl::StatusOr<std::shared_ptr<const Columns>> Parse(std::string_view bytes);

  uint32_t slots() const { return slots_; }
  int64_t bytes() const { return bytes_; }  // of memory, about

  // Slots whose documents pass; the same as Filter::Passes for each row. Paths beyond kMaxPaths
  // have no values here.
  Roaring Evaluate(const Expression& expression) const;

  // Types of the values at a path, 0 when there are none.
  TypeMask TypesAt(std::string_view path) const;
  // Whether the path may have values that are not indexed.
  bool Overflows(std::string_view path) const { return overflow_ && !columns_.contains(path); }

  // Calls `fn` for each different bool, number and text at `path` with its slots: a document that
  // has a value twice counts once.
  using ValueFn = absl::FunctionRef<void(const Literal& value, const Roaring& slots)>;
  void ForEachValue(std::string_view path, ValueFn fn) const;
  // Slots with a value other than null at `path`.
  const Roaring* Present(std::string_view path) const;

 private:
  struct Text {
    uint32_t begin = 0, count = 0;  // in text_slots
    int32_t bitmap = -1;            // in text_bitmaps, instead
  };
  struct Column {
    TypeMask types = 0;
    Roaring present;  // slots with a value other than null
    Roaring yes, no;
    std::vector<std::string> texts;  // sorted by bytes
    std::vector<Text> text_places;   // of each
    std::vector<uint32_t> text_slots;
    std::vector<Roaring> text_bitmaps;
    // Sorted by value, then slot.
    std::vector<double> numbers;
    std::vector<uint32_t> number_slots;
    std::vector<int64_t> times;
    std::vector<uint32_t> time_slots;

    void AddText(std::string text, std::span<const uint32_t> slots);
    void AddTextTo(size_t i, Roaring* out) const;
  };
  class Builder;

  Columns() = default;
  Roaring Evaluate(const Condition& condition) const;
  void Finish();  // compresses and counts bytes

  uint32_t slots_ = 0;
  bool overflow_ = false;
  int64_t bytes_ = 0;
  std::map<std::string, Column, std::less<>> columns_;
};

}  // namespace vecino::fields
