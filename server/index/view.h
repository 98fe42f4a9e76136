// What one search of a shard looks at.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/index/hit.h"
#include "server/index/segment.h"
#include "server/index/tail.h"
#include "server/index/tombstones.h"

namespace vecino::index {

// A segment with the tombstones it has in this view.
struct SegmentRows {
  std::shared_ptr<const Segment> segment;
  std::shared_ptr<Tombstones> dead;
};

// A reader pins one view and keeps it for the whole search.
//
// Invariants:
//  V1. The lists of a view never change; a new view takes its place.
//  V2. Segments, frozen tails and the tail stand in the order of their labels, and their label
//  ranges do
//      not overlap.
//  V3. A search goes through them in that order, and from the tail on through next() to the newest.
//  A
//      replaced version always stands before the version that replaces it, so by A4 and T2 a search
//      sees at least one of the two, even when views change meanwhile. It may see both; the older
//      one is then gone from the store, and is dropped when documents are fetched.
struct View {
  std::vector<SegmentRows> segments;
  std::vector<std::shared_ptr<Tail>> frozen;  // full, waiting to be drained; oldest first
  std::shared_ptr<Tail> tail;                 // takes new rows
};

// The best params.k rows, best first. query: `dimension` floats. `checkpoint` is called before each
// part of the view; an error it returns ends the search and is passed on.
absl::StatusOr<std::vector<Hit>> Search(const View& view, Metric metric, const float* query,
                                        const SearchParams& params,
                                        absl::FunctionRef<absl::Status()> checkpoint);

// Calls `fn` with the label of each live row that `filter` lets pass, part by part in the order of
// Search and in no order within one, until it returns false.
void ForEachPassing(const View& view, const RowFilter& filter,
                    absl::FunctionRef<bool(uint64_t label)> fn);

}  // namespace vecino::index
