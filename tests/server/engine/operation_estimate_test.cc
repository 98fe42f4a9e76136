#include "server/engine/operation_estimate.h"

#include <gtest/gtest.h>

#include "server/engine/memory_budget.h"

namespace vecino::engine {
namespace {

std::vector<ShardStats> Shards(std::vector<int64_t> rows) {
  std::vector<ShardStats> shards;
  for (const int64_t n : rows) {
    ShardStats& shard = shards.emplace_back();
    shard.live_documents = n;
    shard.deleted_rows = n / 10;
  }
  return shards;
}

OperationEstimate Estimate(IndexKind kind, std::vector<int64_t> rows, int threads = 1,
                           Operation::Type type = Operation::Type::kRetrain) {
  IndexSpec spec;
  spec.kind = kind;
  return EstimateOperation(type, spec, 384, /*chunked=*/false, Shards(std::move(rows)), threads,
                           {});
}

TEST(OperationEstimate, CountsRows) {
  const OperationEstimate estimate = Estimate(IndexKind::kAuto, {1000, 500'000});
  EXPECT_EQ(estimate.rows, 501'000);
  EXPECT_EQ(estimate.deleted_rows, 50'100);
  const OperationEstimate nothing = Estimate(IndexKind::kAuto, {0, 0});
  EXPECT_EQ(nothing.duration, absl::ZeroDuration());
  EXPECT_EQ(nothing.rows, 0);
}

TEST(OperationEstimate, RowsOfChunkedCollectionsArePassages) {
  std::vector<ShardStats> shards = Shards({1000});
  shards[0].tail_rows = 500;
  shards[0].deleted_rows = 700;
  shards[0].segment_list = {{"IVF", 20'000, 0, 0}, {"FLAT", 30'000, 0, 0}};
  const auto estimate = [&](bool chunked) {
    return EstimateOperation(Operation::Type::kRetrain, {}, 384, chunked, shards, 1, {});
  };
  EXPECT_EQ(estimate(false).rows, 1000);
  EXPECT_EQ(estimate(true).rows, 49'800);
  // An index of its own, not the comparison of 1,000 rows.
  EXPECT_GT(estimate(true).index_bytes, 10 * estimate(false).index_bytes);
  EXPECT_GT(estimate(true).duration, 20 * estimate(false).duration);
}

TEST(OperationEstimate, IsOfTheMeasuredOrder) {
  // 304,600 rows were trained and encoded in 5 to 6 s on one core.
  const absl::Duration retrain = Estimate(IndexKind::kAuto, {304'600}).duration;
  EXPECT_GT(retrain, absl::Seconds(3));
  EXPECT_LT(retrain, absl::Seconds(20));
  const absl::Duration compact =
      Estimate(IndexKind::kAuto, {304'600}, 1, Operation::Type::kCompact).duration;
  EXPECT_LT(compact, retrain / 2);
  EXPECT_GT(Estimate(IndexKind::kHnsw, {304'600}).duration, retrain);
  for (const IndexKind kind :
       {IndexKind::kIvfFlat, IndexKind::kIvfSq8, IndexKind::kIvfPq, IndexKind::kLsh}) {
    EXPECT_GT(Estimate(kind, {304'600}).duration, absl::Seconds(1));
    EXPECT_LT(Estimate(kind, {304'600}).duration, absl::Minutes(30));
  }
}

TEST(OperationEstimate, ThreadsShareShards) {
  const OperationEstimate one = Estimate(IndexKind::kAuto, {300'000, 300'000, 300'000});
  const OperationEstimate two = Estimate(IndexKind::kAuto, {300'000, 300'000, 300'000}, 2);
  const OperationEstimate nine = Estimate(IndexKind::kAuto, {300'000, 300'000, 300'000}, 9);
  EXPECT_EQ(two.index_bytes, one.index_bytes);
  EXPECT_NEAR(absl::ToDoubleSeconds(two.duration), absl::ToDoubleSeconds(one.duration) / 2, 1e-6);
  EXPECT_NEAR(absl::ToDoubleSeconds(nine.duration), absl::ToDoubleSeconds(one.duration) / 3, 1e-6);
  EXPECT_EQ(two.peak_bytes, 2 * one.peak_bytes);
  EXPECT_EQ(nine.peak_bytes, 3 * one.peak_bytes);
}

TEST(OperationEstimate, MemoryIsThePrediction) {
  IndexSpec spec;
  const OperationEstimate estimate = Estimate(IndexKind::kAuto, {300'000, 5000});
  EXPECT_EQ(estimate.index_bytes,
            PredictIndexBytes(index::SegmentKind::kIvf, spec, 300'000, 384, false) +
                PredictIndexBytes(index::SegmentKind::kFlat, spec, 5000, 384, false));
  EXPECT_GT(estimate.peak_bytes,
            PredictIndexBytes(index::SegmentKind::kIvf, spec, 300'000, 384, false));
}

}  // namespace
}  // namespace vecino::engine
