// The seam behind which every kind of index stands.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "server/index/metric.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"

namespace vecino::index {

// An immutable set of rows. Which of them are dead is kept beside it, in Tombstones of the same
// number of slots, because the same segment may stand in several views.
//
// Invariants:
//  S1. Labels ascend strictly with the slot.
//  S2. Nothing changes after construction, so every method is safe from any thread and none blocks
//  on
//      another.
class Segment {
 public:
  virtual ~Segment() = default;

  virtual Metric metric() const = 0;
  virtual int dimension() const = 0;
  virtual int64_t size() const = 0;   // rows; at least 1
  virtual int64_t bytes() const = 0;  // of memory, rows and labels

  // slot: 0 to size() - 1.
  virtual uint64_t label(int64_t slot) const = 0;
  // The row as it was added: dimension() floats, valid as long as the segment. For merges.
  virtual const float* vector(int64_t slot) const = 0;

  // The slot with this label, -1 for none.
  virtual int64_t FindSlot(uint64_t label) const = 0;

  // Pushes the rows nearest to `query` (dimension() floats) that are not dead.
  virtual absl::Status Search(const float* query, const Tombstones& dead, TopK* top) const = 0;
};

}  // namespace vecino::index
