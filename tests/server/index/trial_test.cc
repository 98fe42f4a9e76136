#include "server/index/trial.h"

#include <gtest/gtest.h>

#include <numeric>

#include "server/index/flat_segment.h"
#include "server/index/shard_index.h"
#include "server/index/training.h"
#include "tests/server/index/clusters.h"

namespace vecino::index {
namespace {

constexpr size_t kD = 16;
constexpr size_t kRows = 10'000;

absl::Status GoOn() { return absl::OkStatus(); }

class TrialTest : public testing::TestWithParam<Metric> {
 protected:
  void SetUp() override {
    rows_ = ClusteredRows(kRows, kD, 3, GetParam() == Metric::kInnerProduct);
    for (size_t i = 0; i < kRows; ++i) index_.Add(i + 1, rows_.data() + i * kD);
    index_.FreezeTail();
    Drain();
    for (uint64_t label = 5; label <= kRows; label += 10) ASSERT_TRUE(index_.Remove(label));
    auto frozen = index_.FreezeForMerge(0, 1);
    ASSERT_TRUE(frozen.has_value());
    frozen_.emplace(*std::move(frozen));
  }
  void Drain() {
    auto rows = index_.FreezeForDrain(1);
    FlatSegmentBuilder builder(GetParam(), kD);
    ASSERT_TRUE(
        rows->ForEachLive([&](uint64_t label, const float* v) { return builder.Add(label, v); })
            .ok());
    ASSERT_TRUE(index_.Publish(*std::move(rows), *builder.Build()).ok());
  }
  std::shared_ptr<const IvfSegment> Build(const SpoilFn& spoil = nullptr, int nlist = 0) {
    auto generation = TrainGeneration(*frozen_, GetParam(), GetParam() == Metric::kInnerProduct, kD,
                                      {.id = 1, .nlist = nlist}, GoOn, spoil);
    EXPECT_TRUE(generation.ok()) << generation.status();
    auto segment = IvfSegment::Build(*frozen_, *generation, "", GoOn);
    EXPECT_TRUE(segment.ok()) << segment.status();
    return *segment;
  }
  Trial Make(std::vector<float> live = {}) {
    const FrozenRows* rows = &*frozen_;
    auto trial = Trial::Make({&rows, 1}, GetParam(), kD, live, 1, GoOn);
    EXPECT_TRUE(trial.ok()) << trial.status();
    return *std::move(trial);
  }
  static std::vector<SegmentRows> Side(std::shared_ptr<const Segment> segment) {
    auto dead = std::make_shared<Tombstones>(segment->size());
    return {{std::move(segment), std::move(dead)}};
  }

  std::vector<float> rows_;
  ShardIndex index_{{GetParam(), static_cast<int>(kD), 1 << 16}};
  std::optional<FrozenRows> frozen_;
};

TEST_P(TrialTest, ExactSearchFindsAllAndComparesAllRows) {
  const Trial trial = Make();
  // A sixteenth of the live rows.
  EXPECT_NEAR(trial.queries(), 0.9 * kRows / 16, 70);
  EXPECT_EQ(trial.held_out(), trial.queries());
  const auto pair = trial.Compare(trial.before(), {}, {}, GoOn);
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_EQ(pair->a.recall, 1);
  EXPECT_EQ(pair->a.rows_scanned, kRows);
  EXPECT_GT(pair->a.seconds, 0);
  EXPECT_EQ(pair->b.recall, 0);
}

TEST_P(TrialTest, ListsFindMoreTheMoreTheyScan) {
  const auto segment = Build();
  EXPECT_EQ(segment->size(), static_cast<int64_t>(kRows - kRows / 10));
  const Trial trial = Make();
  double last_recall = 0, last_rows = 0;
  for (const int breadth : {1, 4, 16, 1000}) {
    SearchParams params;
    params.breadth = breadth;
    params.rerank = 1000;  // so that what is missed was not scanned
    const auto pair = trial.Compare({}, Side(segment), params, GoOn, 2);
    ASSERT_TRUE(pair.ok());
    EXPECT_GE(pair->b.recall, last_recall);
    EXPECT_GT(pair->b.rows_scanned, last_rows);
    last_recall = pair->b.recall;
    last_rows = pair->b.rows_scanned;
  }
  EXPECT_GT(last_recall, 0.99);
  EXPECT_EQ(last_rows, segment->size());
}

TEST_P(TrialTest, ASpoiledSampleFindsLessForAsMuch) {
  std::mt19937 rng(1);
  std::normal_distribution<float> noise;
  const auto bad = Build([&](std::vector<float>* sample) {
    EXPECT_LT(sample->size() / kD, 0.9 * kRows * 15.2 / 16);  // none that is held out
    for (float& x : *sample) x = noise(rng);
  });
  const auto good = Build();
  SearchParams params;
  params.breadth = 4;
  const auto pair = Make().Compare(Side(good), Side(bad), params, GoOn);
  ASSERT_TRUE(pair.ok());
  EXPECT_GT(pair->a.recall, pair->b.recall + 0.05);
}

TEST_P(TrialTest, QueriesOfCallersCountToo) {
  const std::vector<float> live = ClusteredRows(50, kD, 9, GetParam() == Metric::kInnerProduct);
  const Trial trial = Make(live);
  EXPECT_EQ(trial.queries(), trial.held_out() + 50);
  const auto pair =
      trial.Compare(trial.before(), Side(Build()), {.breadth = 1000, .rerank = 1000}, GoOn);
  ASSERT_TRUE(pair.ok());
  EXPECT_EQ(pair->a.recall, 1);
  EXPECT_GT(pair->b.recall, 0.99);
}

TEST_P(TrialTest, OtherKindsOfSearchesHaveTruthsOfTheirOwn) {
  const Trial trial = Make(ClusteredRows(50, kD, 9, GetParam() == Metric::kInnerProduct));
  const auto segment = Build();
  for (const Trial::Kind kind : {Trial::Kind::kBest, Trial::Kind::kFiltered}) {
    const auto exact = trial.Compare(trial.before(), Side(segment),
                                     {.breadth = 1000, .rerank = 1000}, GoOn, 2, kind);
    ASSERT_TRUE(exact.ok()) << exact.status();
    EXPECT_EQ(exact->a.recall, 1);
    EXPECT_GT(exact->b.recall, 0.99);
  }
  // One list has the best of most.
  const auto few =
      trial.Compare({}, Side(segment), {.breadth = 1, .rerank = 1000}, GoOn, 1, Trial::Kind::kBest);
  ASSERT_TRUE(few.ok());
  EXPECT_LT(few->b.recall, 1);
  EXPECT_GT(few->b.recall, 0);
}

TEST_P(TrialTest, AnErrorOfTheCheckpointEndsIt) {
  const FrozenRows* rows = &*frozen_;
  const auto stop = [] { return absl::CancelledError("enough"); };
  EXPECT_EQ(Trial::Make({&rows, 1}, GetParam(), kD, {}, 1, stop).status().code(),
            absl::StatusCode::kCancelled);
  const Trial trial = Make();
  EXPECT_EQ(trial.Compare(trial.before(), {}, {}, stop).status().code(),
            absl::StatusCode::kCancelled);
}

INSTANTIATE_TEST_SUITE_P(Metrics, TrialTest, testing::Values(Metric::kInnerProduct, Metric::kL2));

TEST(HeldOut, IsASixteenthOfAnySteps) {
  for (const uint64_t step : {1, 2, 3, 16, 100, 1024}) {
    int held_out = 0;
    for (uint64_t i = 0; i < 16'000; ++i) held_out += IsHeldOut(1 + i * step);
    EXPECT_NEAR(held_out, 1000, 120) << step;
  }
}

}  // namespace
}  // namespace vecino::index
