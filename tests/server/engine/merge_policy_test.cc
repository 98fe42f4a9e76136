#include "server/engine/merge_policy.h"

#include <gtest/gtest.h>

#include <vector>

namespace vecino::engine {
namespace {

using Segments = std::vector<index::ShardIndexStats::SegmentStats>;

std::optional<std::pair<size_t, size_t>> Pick(const Segments& segments) {
  const auto range = PickMerge(segments, MergePolicy{});
  if (!range.has_value()) return std::nullopt;
  return std::pair(range->first, range->count);
}

TEST(MergePolicy, LeavesAFewCleanSegmentsAlone) {
  EXPECT_EQ(Pick({}), std::nullopt);
  EXPECT_EQ(Pick(Segments(8, {.rows = 100, .dead = 20})), std::nullopt);
}

TEST(MergePolicy, RewritesASegmentWithMuchDead) {
  EXPECT_EQ(Pick({{100, 5}, {100, 21}, {100, 90}}), std::pair(size_t{1}, size_t{1}));
}

TEST(MergePolicy, MergesTheNewestThatAreAlike) {
  Segments segments = {{10000, 0}, {1000, 0}};
  for (int i = 0; i < 7; ++i) segments.push_back({10, 0});
  EXPECT_EQ(Pick(segments), std::pair(size_t{2}, size_t{7}));
  // Steeply falling sizes: the last two all the same, or their number would grow without end.
  segments.clear();
  for (int64_t rows = int64_t{1} << 30; segments.size() < 9; rows /= 8)
    segments.push_back({rows, 0});
  EXPECT_EQ(Pick(segments), std::pair(size_t{7}, size_t{2}));
}

TEST(MergePolicy, CopiesARowALogarithmicNumberOfTimes) {
  Segments segments;
  int64_t copied = 0;
  const int drains = 4000;
  for (int i = 0; i < drains; ++i) {
    segments.push_back({1, 0});
    while (const auto range = PickMerge(segments, MergePolicy{})) {
      int64_t rows = 0;
      for (size_t j = range->first; j < range->first + range->count; ++j) rows += segments[j].rows;
      copied += rows;
      segments.erase(segments.begin() + static_cast<ptrdiff_t>(range->first), segments.end());
      segments.push_back({rows, 0});
    }
    ASSERT_LE(segments.size(), 8u);
  }
  EXPECT_LT(copied, drains * 12);  // log2(4000) is 12
}

}  // namespace
}  // namespace vecino::engine
