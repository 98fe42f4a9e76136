#include "server/index/shard_index.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <thread>

#include "server/index/flat_segment.h"
#include "tests/server/index/vectors.h"

namespace vecino::index {
namespace {

std::shared_ptr<const Segment> BuildFrom(const FrozenRows& rows, const ShardIndexOptions& options) {
  FlatSegmentBuilder builder(options.metric, options.dimension);
  EXPECT_TRUE(
      rows.ForEachLive([&](uint64_t label, const float* v) { return builder.Add(label, v); }).ok());
  return *builder.Build();
}

// Labels and scores of everything that a search sees.
std::map<uint64_t, float> All(const View& view, const ShardIndexOptions& options, float x = 1) {
  std::map<uint64_t, float> all;
  const auto hits =
      Search(view, options.metric, &x, {.k = 1 << 20}, [] { return absl::OkStatus(); });
  EXPECT_TRUE(hits.ok());
  for (const Hit& hit : *hits) EXPECT_TRUE(all.emplace(hit.label, hit.score).second);
  return all;
}

class ShardIndexTest : public testing::Test {
 protected:
  // One dimension, so a row is one number and its inner product with 1 is that number.
  const ShardIndexOptions options_{Metric::kInnerProduct, 1, 4};
  ShardIndex index_{options_};

  void Add(uint64_t label) {
    const float x = static_cast<float>(label) * 10;
    index_.Add(label, &x);
    expected_[label] = x;
  }
  void Remove(uint64_t label) {
    EXPECT_TRUE(index_.Remove(label));
    EXPECT_FALSE(index_.Remove(label));
    expected_.erase(label);
  }
  void Drain(int max_tails = 100) {
    auto rows = index_.FreezeForDrain(max_tails);
    ASSERT_TRUE(rows.has_value());
    auto segment = BuildFrom(*rows, options_);
    ASSERT_TRUE(index_.Publish(*std::move(rows), std::move(segment)).ok());
  }
  void Check() {
    EXPECT_EQ(All(*index_.Pin(), options_), expected_);
    EXPECT_EQ(index_.Stats().live_rows, static_cast<int64_t>(expected_.size()));
  }

  std::map<uint64_t, float> expected_;
};

TEST_F(ShardIndexTest, TheLagIsThatOfTheOldestFrozenTail) {
  using Clock = std::chrono::steady_clock;
  for (uint64_t label = 1; label <= 4; ++label) Add(label);
  EXPECT_EQ(index_.Stats().lag.count(), 0);  // full, but nothing came behind it
  const Clock::time_point begin = Clock::now();
  Add(5);
  const Clock::time_point first = Clock::now();
  for (uint64_t label = 6; label <= 8; ++label) Add(label);
  while (Clock::now() - first < std::chrono::milliseconds(1)) std::this_thread::yield();
  const Clock::time_point second = Clock::now();
  Add(9);
  std::chrono::nanoseconds lag = index_.Stats().lag;
  EXPECT_GE(lag.count(), (second - first).count());
  EXPECT_LE(lag.count(), (Clock::now() - begin).count());
  Drain(1);
  ASSERT_EQ(index_.Stats().frozen_tails, 1);
  lag = index_.Stats().lag;
  EXPECT_GT(lag.count(), 0);
  EXPECT_LE(lag.count(), (Clock::now() - second).count());
  Drain();
  EXPECT_EQ(index_.Stats().lag.count(), 0);
}

TEST_F(ShardIndexTest, RowsMoveThroughTailsSegmentsAndMerges) {
  Check();
  for (uint64_t label = 1; label <= 30; ++label) Add(label * 2);
  Check();
  EXPECT_EQ(index_.Stats().frozen_tails, 7);
  EXPECT_EQ(index_.Stats().tail_rows, 30);
  Remove(2);   // in the first frozen tail
  Remove(30);  // in a later one
  Remove(60);  // in the tail
  EXPECT_FALSE(index_.Remove(3));
  EXPECT_FALSE(index_.Remove(1));
  EXPECT_FALSE(index_.Remove(1000));
  Check();
  EXPECT_EQ(index_.DrainedThrough(60), 1u);

  Drain(2);
  Check();
  EXPECT_EQ(index_.Stats().segments.size(), 1u);
  EXPECT_EQ(index_.Stats().segments[0].rows, 7);
  EXPECT_EQ(index_.DrainedThrough(60), 17u);
  Drain(3);
  Drain();
  Check();
  EXPECT_EQ(index_.Stats().frozen_tails, 0);
  EXPECT_EQ(index_.Stats().segments.size(), 3u);
  Remove(4);
  Remove(20);
  Remove(50);
  EXPECT_FALSE(index_.Remove(2));
  EXPECT_EQ(index_.Stats().dead_rows, 4);  // three in segments, one in the tail
  Check();

  auto rows = index_.FreezeForMerge(1, 2);
  ASSERT_TRUE(rows.has_value());
  EXPECT_EQ(rows->dead(), 2);
  auto segment = BuildFrom(*rows, options_);
  ASSERT_TRUE(index_.Publish(*std::move(rows), std::move(segment)).ok());
  Check();
  EXPECT_EQ(index_.Stats().segments.size(), 2u);
  EXPECT_EQ(index_.Stats().dead_rows, 2);
}

TEST_F(ShardIndexTest, TombstonesSetDuringABuildAreTakenAtPublish) {
  for (uint64_t label = 1; label <= 8; ++label) Add(label);
  Add(9);
  Remove(3);
  auto rows = index_.FreezeForDrain(10);
  ASSERT_TRUE(rows.has_value());
  EXPECT_EQ(rows->live(), 7);
  Remove(5);  // between Freeze and the build
  auto segment = BuildFrom(*rows, options_);
  EXPECT_EQ(segment->size(), 7);
  Remove(6);  // between the build and Publish
  ASSERT_TRUE(index_.Publish(*std::move(rows), std::move(segment)).ok());
  Check();
  EXPECT_FALSE(index_.Remove(5));
  EXPECT_EQ(index_.Stats().segments[0].dead, 2);
}

TEST_F(ShardIndexTest, ABuildOfOnlyDeadRowsLeavesNoSegment) {
  for (uint64_t label = 1; label <= 5; ++label) Add(label);
  for (uint64_t label = 1; label <= 4; ++label) Remove(label);
  Drain();
  Check();
  EXPECT_TRUE(index_.Stats().segments.empty());
  EXPECT_EQ(index_.Stats().dead_rows, 0);
}

TEST_F(ShardIndexTest, OneBuildAtATimeAndAbandonChangesNothing) {
  for (uint64_t label = 1; label <= 9; ++label) Add(label);
  {
    auto rows = index_.FreezeForDrain(1);
    ASSERT_TRUE(rows.has_value());
    EXPECT_FALSE(index_.FreezeForDrain(1).has_value());
    FrozenRows moved = *std::move(rows);
    rows.reset();  // the shell of what was moved away frees nothing
    EXPECT_FALSE(index_.FreezeForDrain(1).has_value());
    index_.Abandon(std::move(moved));
  }
  Check();
  EXPECT_FALSE(index_.FreezeForMerge(0, 1).has_value());
  Drain();
  Check();
}

TEST_F(ShardIndexTest, WhatDrainsPutBehindTakesPartInAReplacement) {
  for (uint64_t label = 1; label <= 5; ++label) Add(label);
  Drain();
  auto first = index_.FreezeForMerge(0, 1);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(index_.FreezeBehind(*first).has_value());
  for (uint64_t label = 6; label <= 13; ++label) Add(label);
  Drain(1);
  Drain(1);
  auto more = index_.FreezeBehind(*first);
  ASSERT_TRUE(more.has_value());
  EXPECT_EQ(more->live(), 8);
  EXPECT_FALSE(index_.FreezeBehind(*more).has_value());
  EXPECT_FALSE(index_.FreezeForMerge(0, 1).has_value());

  Remove(2);  // known to neither build
  std::vector<ShardIndex::Built> built;
  auto of_first = BuildFrom(*first, options_), of_more = BuildFrom(*more, options_);
  built.push_back({*std::move(first), std::move(of_first)});
  built.push_back({*std::move(more), std::move(of_more)});
  auto replacement = index_.Prepare(std::move(built));
  ASSERT_TRUE(replacement.ok()) << replacement.status();
  Remove(3);
  Remove(9);
  ASSERT_TRUE(index_.CatchUp(&*replacement).ok());
  Remove(10);  // left to Publish
  for (uint64_t label = 14; label <= 17; ++label) Add(label);
  Drain(1);  // stays as it is behind what is replaced
  Check();
  ASSERT_TRUE(index_.Publish(&*replacement).ok());
  Check();
  const ShardIndexStats stats = index_.Stats();
  ASSERT_EQ(stats.segments.size(), 3u);
  EXPECT_EQ(stats.segments[2].rows, 4);
  EXPECT_EQ(stats.segments[0].rows, 4);
  EXPECT_EQ(stats.segments[0].dead, 2);
  EXPECT_EQ(stats.segments[1].rows, 8);
  EXPECT_EQ(stats.segments[1].dead, 2);
  Remove(1);
  Remove(12);
  Check();
  EXPECT_FALSE(index_.FreezeForMerge(0, 1).has_value());  // the replacement still holds its rows
  replacement = absl::CancelledError("");
  EXPECT_TRUE(index_.FreezeForMerge(0, 1).has_value());
}

TEST_F(ShardIndexTest, PublishRefusesASegmentThatLostRows) {
  for (uint64_t label = 1; label <= 5; ++label) Add(label);
  auto rows = index_.FreezeForDrain(1);
  FlatSegmentBuilder builder(options_.metric, 1);
  const float x = 1;
  ASSERT_TRUE(builder.Add(1, &x).ok());
  EXPECT_EQ(index_.Publish(*std::move(rows), *builder.Build()).code(), absl::StatusCode::kInternal);
  Check();

  ShardIndex other(options_);
  for (uint64_t label = 1; label <= 5; ++label) other.Add(label, &x);
  auto foreign = other.FreezeForDrain(1);
  auto segment = BuildFrom(*foreign, options_);
  EXPECT_EQ(index_.Publish(*std::move(foreign), segment).code(), absl::StatusCode::kInternal);
  Check();
}

TEST_F(ShardIndexTest, APinnedViewOutlivesWhatReplacesIt) {
  for (uint64_t label = 1; label <= 9; ++label) Add(label);
  const std::shared_ptr<const View> view = index_.Pin();
  const auto before = All(*view, options_);
  Drain();
  EXPECT_EQ(All(*view, options_), before);
  // Rows written later are seen through the pinned tail, however often it was replaced.
  for (uint64_t label = 10; label <= 40; ++label) Add(label);
  Drain();
  EXPECT_EQ(All(*view, options_), expected_);
}

TEST_F(ShardIndexTest, LoadedSegmentStandsBeforeLaterRows) {
  FlatSegmentBuilder builder(options_.metric, 1);
  for (uint64_t label = 1; label <= 5; ++label) {
    const float x = static_cast<float>(label) * 10;
    ASSERT_TRUE(builder.Add(label, &x).ok());
    expected_[label] = x;
  }
  index_.AddSegment(*builder.Build());
  EXPECT_EQ(index_.DrainedThrough(5), 5u);
  for (uint64_t label = 6; label <= 12; ++label) Add(label);
  Remove(5);
  Remove(6);
  Drain();
  Check();
  EXPECT_EQ(index_.DrainedThrough(12), 9u);
  index_.FreezeTail();
  Drain();
  index_.FreezeTail();
  EXPECT_FALSE(index_.FreezeForDrain(1).has_value());
  EXPECT_EQ(index_.DrainedThrough(12), 12u);
  Check();
}

TEST_F(ShardIndexTest, CheckpointEndsTheSearch) {
  for (uint64_t label = 1; label <= 9; ++label) Add(label);
  const float x = 1;
  int calls = 0;
  const auto hits = Search(*index_.Pin(), options_.metric, &x, {.k = 5}, [&] {
    return ++calls == 2 ? absl::CancelledError("gone") : absl::OkStatus();
  });
  EXPECT_EQ(hits.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 2);
}

TEST_F(ShardIndexTest, ARangeOfLabelsIsRemovedWhereverItsRowsAre) {
  // In two segments, frozen tails and the tail.
  for (uint64_t label = 1; label <= 30; ++label) Add(label * 2);
  Drain(2);  // 2 to 16
  Drain(2);  // 18 to 32
  Remove(26);
  const auto remove = [&](uint64_t first, uint64_t last) {
    const bool removed = index_.RemoveRange(first, last);
    const auto erased = std::erase_if(
        expected_, [&](const auto& row) { return row.first >= first && row.first <= last; });
    EXPECT_EQ(removed, erased > 0) << first;
    Check();
  };
  remove(3, 3);      // nothing
  remove(61, 1000);  // nothing, behind all
  remove(1, 2);      // the first row
  remove(15, 17);    // the end of a segment
  remove(24, 50);    // from a segment through all frozen tails into the tail
  remove(24, 50);    // all dead already
  remove(59, 60);    // the last row
  remove(1, 1000);
  EXPECT_TRUE(expected_.empty());
}

}  // namespace
}  // namespace vecino::index
