// Which documents of a view a filter lets pass.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "server/fields/field_index.h"
#include "server/fields/filter.h"

namespace vecino::fields {

// INVALID_ARGUMENT, beginning with the column, when a condition compares a field with a value of a
// type that it never has in `views`; FAILED_PRECONDITION when a field is not indexed there because
// there are more than Columns::kMaxPaths.
absl::Status CheckFilter(std::span<const std::shared_ptr<const FieldView>> views,
                         const Filter& filter);

// Keeps which slots of a segment of fields a filter lets pass, for whoever asks again. Thread safe.
class Evaluations {
 public:
  using Slots = std::shared_ptr<const Roaring>;

  virtual ~Evaluations() = default;
  // segment: FieldSegment::id. filter: Filter::key. Null: not kept.
  virtual Slots FindSlots(uint64_t segment, const std::string& filter) = 0;
  virtual void PutSlots(uint64_t segment, const std::string& filter, Slots slots) = 0;
};

// Thread safe but for Exclude. The filter is not needed after construction.
class Passing {
 public:
  // Looks at documents with labels in [first, last] only; the others do not pass. Costs what the
  // columns of the conditions cost, not the number of documents, but for the chunk's rows; with
  // `known` (null: nothing is), where another has looked before, a look-up.
  Passing(std::shared_ptr<const FieldView> view, const Filter& filter, uint64_t first = 0,
          uint64_t last = std::numeric_limits<uint64_t>::max(), Evaluations* known = nullptr);

  // From now on documents with these labels do not pass.
  void Exclude(std::span<const uint64_t> labels);

  // Whether the document passes, dead or not; false for labels that the view does not have.
  bool Contains(uint64_t label) const;
  // Documents that pass, dead or not, in order of labels.
  void ForEach(absl::FunctionRef<void(uint64_t label)> fn) const;
  // The same of part `part` of the view alone, or of its chunk where that is their number.
  void ForEachIn(size_t part, absl::FunctionRef<void(uint64_t label)> fn) const;
  const FieldView& view() const { return *view_; }
  // Slots of part `part` of the view whose documents pass, those outside of [first, last] among
  // them.
  const Roaring& Slots(size_t part) const { return *parts_[part]; }
  int64_t size() const;  // how many they are
  // Those of part `part` of the view, as bits by slot.
  std::vector<uint64_t> SlotsOf(size_t part) const;
  // Whether row `i` of the view's chunk passes; false for those that came later than this.
  bool ChunkRow(int i) const { return i < chunk_rows_ && chunk_[static_cast<size_t>(i)]; }
  // Those that are not dead now.
  int64_t CountLive() const;

  // Calls `fn` for each different value at `path` among live documents that pass, with their
  // number; a value may come several times, once for each part. present: how many of them have a
  // value other than null.
  void ForEachValue(std::string_view path,
                    absl::FunctionRef<void(const Literal& value, int64_t count)> fn,
                    int64_t* present) const;

 private:
  // Where a label stands: in a part, or in the chunk (part: their number). Slot kGone: nowhere.
  struct Place {
    size_t part = 0;
    uint32_t slot = Columns::kGone;
  };
  Place Find(uint64_t label) const;
  Roaring LiveOf(size_t part) const;
  // Of part `part`, those with labels in [first, last].
  void ForEachSlotOf(size_t part, absl::FunctionRef<void(uint32_t slot, uint64_t label)> fn) const;

  const std::shared_ptr<const FieldView> view_;
  const uint64_t first_, last_;
  std::vector<Evaluations::Slots> parts_;  // none is null
  int chunk_rows_ = 0;
  std::array<bool, OpenChunk::kRows> chunk_{};
};

}  // namespace vecino::fields
