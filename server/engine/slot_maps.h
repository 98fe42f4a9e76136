// Where the documents of a segment of fields stand in a segment of vectors, for filters that are
// new.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <roaring/roaring.hh>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/label_scheme.h"
#include "server/engine/memory_budget.h"
#include "server/fields/segment.h"
#include "server/index/segment.h"

namespace vecino::engine {

// How many rows have a lower label than this: the first other one's place in label order.
int64_t CountBelow(const index::Segment& segment, uint64_t label);

// Immutable; thread safe.
class SlotMap {
 public:
  // Walks through the rows of both that have common labels; some nanoseconds a row.
  SlotMap(const index::Segment& vectors, LabelScheme labels, const fields::FieldSegment& documents);

  // Sets the bits of the rows whose documents' slots are in `passing`: of vectors' slots, as
  // index::SlotBits. Costs the number of these documents.
  void AddRows(const Roaring& passing, std::vector<uint64_t>* words) const;

  int64_t bytes() const;

 private:
  uint32_t first_ = 0, count_ = 0;  // slots of documents that may have rows
  std::vector<uint32_t> rows_;      // of all of these, in their order
  // Where the rows of each begin in rows_, and one more for the end. Empty when each has one row.
  std::vector<uint32_t> begins_;
};

// The maps that were made last, as long as there is memory for them: at most `max_bytes`, and no
// more than fits into the budget beside all else, for which they make room, so that no build is
// refused for their sake. What is kept never goes stale, as neither kind of segment changes; the
// least recently used go first. Thread safe; the lock is held for a look-up only.
class SlotMaps {
 public:
  // budget: null for none. Outlives it.
  SlotMaps(int64_t max_bytes, const MemoryBudget* budget)
      : max_bytes_(max_bytes), budget_(budget) {}

  // Null: not there.
  std::shared_ptr<const SlotMap> Find(const index::Segment& vectors,
                                      const fields::FieldSegment& documents);
  // Makes it and keeps it if there is room.
  std::shared_ptr<const SlotMap> Make(const index::Segment& vectors, LabelScheme labels,
                                      const fields::FieldSegment& documents);
  int64_t bytes() const;

 private:
  using Key = std::pair<uint64_t, uint64_t>;  // ids of the segments
  struct Entry {
    Key key;
    std::shared_ptr<const SlotMap> map;
  };
  static int64_t BytesOf(const Entry& entry);
  // Takes what was used longest ago out until `more` bytes fit, or nothing is left. True: they fit.
  bool MakeRoom(int64_t more, std::list<Entry>* gone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int64_t max_bytes_;
  const MemoryBudget* const budget_;
  mutable absl::Mutex mu_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mu_);  // the latest used first
  absl::flat_hash_map<Key, std::list<Entry>::iterator> places_ ABSL_GUARDED_BY(mu_);
  int64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace vecino::engine
