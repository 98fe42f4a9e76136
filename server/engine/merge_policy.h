// Which segments of a shard to merge next.
#pragma once

#include <cstddef>
#include <optional>

#include "absl/types/span.h"
#include "server/index/shard_index.h"

namespace vecino::engine {

struct MergePolicy {
  // A search visits every segment, so more than these are merged.
  size_t max_segments = 8;
  // A segment with a greater share of dead rows is rewritten without them.
  double max_dead_share = 0.2;
};

// Neighbouring segments [first, first + count).
struct MergeRange {
  size_t first = 0;
  size_t count = 0;
};

// What to merge, or nullopt when nothing needs it. `segments` in the order of their labels, oldest
// first.
//
// Too many segments: the newest ones are merged, reaching back over every older one that is not
// more than twice as large as all that was taken so far. So sizes grow towards the old end at least
// as powers of two, and a row is copied O(log n) times.
std::optional<MergeRange> PickMerge(absl::Span<const index::ShardIndexStats::SegmentStats> segments,
                                    const MergePolicy& policy);

}  // namespace vecino::engine
