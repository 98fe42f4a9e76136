#include "server/index/flat_segment.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "server/index/distance.h"
#include "tests/server/index/vectors.h"

namespace vecino::index {
namespace {

TEST(FlatSegment, SearchIsExactAndLeavesOutTheDead) {
  std::mt19937 rng(4);
  const int d = 24, n = 1000;
  const std::vector<float> rows = RandomVector(rng, n * d);
  for (Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    FlatSegmentBuilder builder(metric, d);
    ASSERT_TRUE(builder.Reserve(n).ok());
    for (int i = 0; i < n; ++i) {
      ASSERT_TRUE(builder.Add(10 + 3 * static_cast<uint64_t>(i), &rows[i * d]).ok());
    }
    EXPECT_EQ(builder.size(), n);
    const std::shared_ptr<const Segment> segment = *builder.Build();
    ASSERT_NE(segment, nullptr);
    EXPECT_EQ(segment->size(), n);
    EXPECT_EQ(segment->dimension(), d);
    EXPECT_EQ(segment->metric(), metric);
    EXPECT_EQ(segment->memory().total(), n * (d * 4 + 8));
    EXPECT_EQ(segment->FindSlot(10), 0);
    EXPECT_EQ(segment->FindSlot(13), 1);
    EXPECT_EQ(segment->FindSlot(12), -1);
    EXPECT_EQ(segment->FindSlot(10 + 3 * n), -1);
    EXPECT_EQ(segment->vector(7)[5], rows[7 * d + 5]);

    Tombstones dead(n);
    for (int i = 0; i < n; ++i) {
      if (i < 128 || rng() % 3 == 0) dead.Kill(i);  // two whole words, and some more
    }
    const std::vector<float> query = RandomVector(rng, d);
    std::vector<Hit> expected;
    for (int i = 0; i < n; ++i) {
      if (dead.IsDead(i)) continue;
      expected.push_back({segment->label(i),
                          static_cast<float>(ExactScore(metric, query.data(), &rows[i * d], d))});
    }
    std::sort(expected.begin(), expected.end(),
              [&](const Hit& a, const Hit& b) { return RanksBefore(metric, a, b); });
    TopK top(metric, 20);
    ASSERT_TRUE(segment->Search(query.data(), {}, dead, nullptr, &top).ok());
    const std::vector<Hit> got = top.Take();
    ASSERT_EQ(got.size(), 20u);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(got[i].label, expected[i].label);
      EXPECT_NEAR(got[i].score, expected[i].score, 1e-4);
    }
  }
}

TEST(FlatSegment, HitsAreThoseOfTheFloats) {
  std::mt19937 rng(5);
  for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    for (const size_t d : {31, 32, 100, 384}) {
      const size_t n = 1100;
      std::vector<float> rows = RandomVector(rng, n * d);
      for (size_t i = 50; i < n; i += 50) std::copy_n(&rows[7 * d], d, &rows[i * d]);  // duplicates
      FlatSegmentBuilder builder(metric, static_cast<int>(d));
      for (size_t i = 0; i < n; ++i) ASSERT_TRUE(builder.Add(10 + 3 * i, &rows[i * d]).ok());
      const std::shared_ptr<const Segment> segment = *builder.Build();
      const int64_t rounded = segment->memory().rounded;
      if (d < 32) {
        EXPECT_EQ(rounded, 0);
      } else {  // whole blocks of 256
        const int64_t row =
            static_cast<int64_t>((d + 63) / 64 * 64) + (metric == Metric::kL2 ? 16 : 12);
        EXPECT_GE(rounded, 1280 * row);
        EXPECT_LT(rounded, 1280 * row + 100);
      }

      Tombstones dead(n);
      std::vector<uint64_t> allowed((n + 63) / 64);
      for (size_t i = 0; i < n; ++i) {
        if (i < 300 ? i % 10 != 0 : rng() % 5 == 0) dead.Kill(static_cast<int64_t>(i));
        if (rng() % 3 == 0) allowed[i / 64] |= uint64_t{1} << (i % 64);
      }
      for (const uint64_t* filter : std::vector<const uint64_t*>{nullptr, allowed.data()}) {
        for (const int k : {1, 10, 500, 2000}) {
          const std::vector<float> query = RandomVector(rng, d);
          std::vector<float> scores(n);
          Score(metric, query.data(), rows.data(), d, n, scores.data());
          TopK expected(metric, k), got(metric, k);
          for (size_t i = 0; i < n; ++i) {
            const bool passes = filter == nullptr || (filter[i / 64] >> (i % 64) & 1) != 0;
            if (passes && !dead.IsDead(static_cast<int64_t>(i)))
              expected.Push(10 + 3 * i, scores[i]);
          }
          ASSERT_TRUE(segment->Search(query.data(), {}, dead, filter, &got).ok());
          const std::vector<Hit> a = expected.Take(), b = got.Take();
          ASSERT_EQ(a.size(), b.size());
          for (size_t i = 0; i < a.size(); ++i) {
            ASSERT_EQ(a[i].label, b[i].label) << d << " " << k;
            ASSERT_EQ(a[i].score, b[i].score);
          }
        }
      }
    }
  }
}

TEST(FlatSegmentBuilder, RefusesLabelsOutOfOrder) {
  FlatSegmentBuilder builder(Metric::kL2, 1);
  const float x = 1;
  ASSERT_TRUE(builder.Add(5, &x).ok());
  EXPECT_EQ(builder.Add(5, &x).code(), absl::StatusCode::kInternal);
}

TEST(FlatSegmentBuilder, NoMemoryIsAStatus) {
  FlatSegmentBuilder builder(Metric::kL2, 16384);
  EXPECT_EQ(builder.Reserve(int64_t{1} << 47).code(), absl::StatusCode::kResourceExhausted);
}

TEST(FlatSegmentBuilder, NothingGivesNull) {
  FlatSegmentBuilder builder(Metric::kL2, 4);
  const auto segment = builder.Build();
  ASSERT_TRUE(segment.ok());
  EXPECT_EQ(*segment, nullptr);
}

}  // namespace
}  // namespace vecino::index
