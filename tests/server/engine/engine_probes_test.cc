// Stored documents as queries, through the engine's door: where recall is measured by them, and
// where and when it is not.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/index/give_way.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

class EngineProbesTest : public EngineTest {
 protected:
  static constexpr int kRows = 3000;
  static constexpr int64_t kEnough = 100;  // probes of a collection; docs/recall.md

  void SetUp() override {
    folder_ = testing::TempDir() + "/probes_" + std::to_string(getpid()) + "_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    options_.index_folder = folder_;
    options_.tail_capacity = 1000;
    options_.maintenance.exact_rows = 500;
    options_.maintenance.min_index_rows = 500;
    // No build is made but the first and those that are asked for.
    OpenGate(&options_.maintenance);
    options_.maintenance.repair = false;
    options_.recall.sample_every = 1'000'000'000;  // no search is measured
    options_.recall.max_age = absl::Hours(1);  // the thread is the last that a busy machine serves
    options_.recall.probe_interval = absl::Hours(1);
    EngineTest::SetUp();
  }
  void TearDown() override {
    engine_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::vector<float> Random() { return RandomVector(kDimension, &rng_); }
  void Make(const std::string& id, int shards, int rows) {
    CollectionSpec spec;
    spec.id = id;
    spec.metric = Metric::kL2;
    spec.dimension = kDimension;
    spec.shard_count = shards;
    spec.index.graph = false;
    const auto made = engine_->CreateCollection(spec, false);
    ASSERT_TRUE(made.ok()) << made.status();
    for (int begin = 0; begin < rows; begin += 500) {
      std::vector<DocumentWrite> writes;
      for (int i = begin; i < std::min(rows, begin + 500); ++i) {
        writes.push_back(Vector(std::to_string(i), Random()));
      }
      for (const WriteResult& result : Upsert(id, std::move(writes))) {
        ASSERT_TRUE(result.status.ok()) << result.status;
      }
    }
  }
  // Has all rows of a collection in segments, trained ones where `type` is kRetrain.
  void Run(const std::string& id, Operation::Type type) {
    auto info = engine_->StartOperation(id, type, {});
    ASSERT_TRUE(info.ok()) << info.status();
    const std::string operation = info->id;
    while (!info->done) {
      info = engine_->WaitOperation(id, operation, absl::Seconds(10), {});
      ASSERT_TRUE(info.ok()) << info.status();
    }
    ASSERT_TRUE(info->status.ok()) << info->status;
  }
  CollectionStats Stats(const std::string& id) {
    const auto stats = engine_->GetCollectionStats(id);
    EXPECT_TRUE(stats.ok()) << stats.status();
    return stats.ok() ? *stats : CollectionStats();
  }
  int64_t Probes(const std::string& id) { return Stats(id).recall.stored_documents.samples; }
  bool IsFlat(const std::string& id) {
    for (const ShardStats& shard : Stats(id).shards) {
      for (const ShardStats::SegmentInfo& segment : shard.segment_list) {
        if (segment.kind != "FLAT") return false;
      }
    }
    return true;
  }
  // Both sorts of collection.
  void MakeBoth() {
    Make("approximate", 2, kRows);
    Make("flat", 2, 300);  // below exact_rows: every row is compared
    Run("approximate", Operation::Type::kRetrain);
    Run("flat", Operation::Type::kCompact);
  }
  void StartProbes() {
    options_.recall.probe_interval = absl::Milliseconds(1);
    Reopen();
    ASSERT_FALSE(IsFlat("approximate"));
    ASSERT_TRUE(IsFlat("flat"));
  }

  std::string folder_;
  std::mt19937 rng_{11};
};

TEST_F(EngineProbesTest, MeasureApproximateCollectionsUntilThereAreEnough) {
  options_.recall.samples_per_second = 200;
  ASSERT_NO_FATAL_FAILURE(MakeBoth());
  ASSERT_NO_FATAL_FAILURE(StartProbes());
  ASSERT_TRUE(Eventually([&] { return Probes("approximate") >= kEnoughRecallSamples; }));
  EXPECT_TRUE(Stats("approximate").recall.stored_documents.enough());
  // Counted when the shards have it, too.
  ASSERT_TRUE(Eventually(
      [&] { return metrics_.Value("vecino_recall_samples_total,stored_documents") >= kEnough; }));
  absl::SleepFor(absl::Milliseconds(200));  // what else would come were there soon
  const CollectionStats stats = Stats("approximate");
  const RecallEstimate& stored = stats.recall.stored_documents;
  EXPECT_EQ(stored.samples, kEnough);
  EXPECT_EQ(stored.source, RecallSource::kStoredDocuments);
  EXPECT_GT(stored.recall, 0.5);
  EXPECT_LE(stored.recall, 1);
  EXPECT_LE(stored.lower, stored.recall);
  EXPECT_GE(stored.upper, stored.recall);
  EXPECT_NEAR(stored.recall_target, 0.95, 1e-6);
  // Nobody searched, and nothing says that somebody did.
  EXPECT_EQ(stats.recall.live.samples, 0);
  EXPECT_TRUE(stats.recall.by_kind.empty());
  for (const ShardStats& shard : stats.shards) {
    EXPECT_EQ(shard.recall.stored_documents.samples, kEnough) << shard.shard;
    EXPECT_EQ(shard.recall.live.samples, 0) << shard.shard;
  }
  EXPECT_EQ(metrics_.Value("vecino_recall_samples_total,live"), 0);
  // Its turn came as often, and there is nothing to measure where every row is compared.
  EXPECT_EQ(Probes("flat"), 0);
  EXPECT_EQ(metrics_.Value("vecino_recall_samples_total,stored_documents"), kEnough);
}

TEST_F(EngineProbesTest, KeepToTheRate) {
  options_.recall.samples_per_second = 20;
  ASSERT_NO_FATAL_FAILURE(MakeBoth());
  ASSERT_NO_FATAL_FAILURE(StartProbes());
  // From one of them to another: how long the engine took to open does not count.
  ASSERT_TRUE(Eventually([&] { return Probes("approximate") >= 1; }));
  const absl::Time start = absl::Now();
  const int64_t first = Probes("approximate");
  ASSERT_TRUE(Eventually([&] { return Probes("approximate") >= first + 10; }));
  // One of the ten may have been under way at the start.
  EXPECT_GE(absl::Now() - start, absl::Seconds(8.0 / 20));
}

TEST_F(EngineProbesTest, EndWhereCallersSearchesSuffice) {
  options_.recall.samples_per_second = 1e6;
  options_.recall.sample_every = 1;
  options_.recall.queue = 1000;
  ASSERT_NO_FATAL_FAILURE(MakeBoth());
  index::NoteSearch();  // no probes for the next second
  ASSERT_NO_FATAL_FAILURE(StartProbes());
  for (int i = 0; i < 2 * kEnoughRecallSamples; ++i) {
    const auto result = engine_->Search("approximate", {.query = VectorQuery{Random()}}, {});
    ASSERT_TRUE(result.ok()) << result.status();
  }
  // One thread measures both, and searches before probes: none is under way when the last is done.
  ASSERT_TRUE(Eventually(
      [&] { return Stats("approximate").recall.live.samples >= 2 * kEnoughRecallSamples; }));
  const int64_t before = Probes("approximate");
  ASSERT_TRUE(Eventually([&] { return !index::SearchedLately(); }));
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_EQ(Probes("approximate"), before);
  EXPECT_EQ(Probes("flat"), 0);
}

}  // namespace
}  // namespace vecino::engine
