#include "server/engine/merge_policy.h"

namespace vecino::engine {

std::optional<MergeRange> PickMerge(absl::Span<const index::ShardIndexStats::SegmentStats> segments,
                                    const MergePolicy& policy) {
  if (segments.size() > policy.max_segments) {
    size_t first = segments.size() - 1;
    int64_t rows = segments[first].rows;
    while (first > 0 && (segments[first - 1].rows <= 2 * rows || first + 1 == segments.size())) {
      rows += segments[--first].rows;
    }
    return MergeRange{first, segments.size() - first};
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    if (static_cast<double>(segments[i].dead) >
        policy.max_dead_share * static_cast<double>(segments[i].rows)) {
      return MergeRange{i, 1};
    }
  }
  return std::nullopt;
}

}  // namespace vecino::engine
