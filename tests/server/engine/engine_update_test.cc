// Changing collections through the engine's door: what is kept, refused, told, and searched by.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/server/engine/migration_fixture.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;

class EngineUpdateTest : public EngineMigrationTest {
 protected:
  void SetUp() override {
    options_.maintenance.exact_rows = 500;
    options_.maintenance.min_index_rows = 500;
    OpenGate(&options_.maintenance);
    options_.recall.sample_every = 0;
    EngineMigrationTest::SetUp();
  }

  CollectionInfo Make(const std::string& id, const IndexSpec& index, int shards = 1) {
    CollectionSpec spec;
    spec.id = id;
    spec.metric = Metric::kL2;
    spec.dimension = kDimension;
    spec.shard_count = shards;
    spec.index = index;
    const auto info = engine_->CreateCollection(spec, false);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? *info : CollectionInfo();
  }
  // Of an approximate index, not of tails.
  void FillAndTrain(const std::string& id, int count) {
    std::mt19937 rng(7);
    std::normal_distribution<float> normal;
    for (int begin = 0; begin < count; begin += 500) {
      std::vector<DocumentWrite> writes;
      for (int i = begin; i < begin + 500; ++i) {
        std::vector<float> vector(kDimension);
        for (float& x : vector) x = normal(rng);
        writes.push_back(Vector(std::to_string(i), std::move(vector)));
      }
      Upsert(id, std::move(writes));
    }
    const auto started = engine_->StartOperation(id, Operation::Type::kRetrain, {});
    ASSERT_TRUE(started.ok()) << started.status();
    ASSERT_TRUE(Wait(started->id, id).ok());
  }
  SearchEffort EffortOf(const std::string& id, SearchRequest request = {}) {
    request.query = VectorQuery{std::vector<float>(kDimension, 0.3f)};
    request.top_k = 1;
    const auto result = engine_->Search(id, request, {});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->effort : SearchEffort();
  }
  CollectionInfo Read(const std::string& id) {
    const auto info = engine_->GetCollection(id);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? *info : CollectionInfo();
  }
};

TEST_F(EngineUpdateTest, IsKeptWithItsEtag) {
  const CollectionInfo made = Make("c", {.kind = IndexKind::kIvfFlat, .nlist = 8});
  const auto changed = engine_->UpdateCollection(
      {.id = "c", .etag = made.etag, .recall_target = 0.9000004, .nprobe = 3});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(changed->spec.index.recall_target, 0.9);  // to a millionth, as it is stored
  EXPECT_EQ(changed->spec.index.nprobe, 3);
  EXPECT_EQ(changed->spec.index.nlist, 8);
  EXPECT_EQ(changed->spec.index.kind, IndexKind::kIvfFlat);
  EXPECT_NE(changed->etag, made.etag);
  EXPECT_EQ(changed->identity(), made.identity());
  for (const bool reopened : {false, true}) {
    if (reopened) Reopen();
    const CollectionInfo now = Read("c");
    EXPECT_EQ(now.spec.index.recall_target, 0.9);
    EXPECT_EQ(now.spec.index.nprobe, 3);
    EXPECT_EQ(now.etag, changed->etag);
  }
  // The one that comes second with the etag from before has lost.
  const auto late = engine_->UpdateCollection({.id = "c", .etag = made.etag, .nprobe = 4});
  EXPECT_EQ(late.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(late.status().message()), HasSubstr("read it again"));
  EXPECT_EQ(engine_->DeleteCollection("c", made.etag).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Read("c").spec.index.nprobe, 3);
  // As it was is what it was.
  const auto back = engine_->UpdateCollection({.id = "c", .recall_target = 0.95, .nprobe = 0});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->etag, made.etag);
}

TEST_F(EngineUpdateTest, WhatDoesNotDifferIsNeitherStoredNorTold) {
  const CollectionInfo made = Make("c", {.recall_target = 0.9});
  auto watcher = engine_->WatchEvents("c");
  ASSERT_TRUE(watcher.ok());
  store_.fault = [](std::string_view operation) {
    return operation == "PutIndex" ? absl::UnavailableError("no disk") : absl::OkStatus();
  };
  const auto same =
      engine_->UpdateCollection({.id = "c", .recall_target = 0.9, .nprobe = 0, .graph = true});
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->etag, made.etag);
  EXPECT_FALSE((*watcher)->Take().has_value());

  const auto failed = engine_->UpdateCollection({.id = "c", .recall_target = 0.8});
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Read("c").etag, made.etag);
  EXPECT_EQ(Read("c").spec.index.recall_target, 0.9);

  const auto checked =
      engine_->UpdateCollection({.id = "c", .recall_target = 0.8, .validate_only = true});
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_EQ(checked->spec.index.recall_target, 0.8);
  EXPECT_EQ(checked->etag, "");
  EXPECT_EQ(Read("c").spec.index.recall_target, 0.9);

  store_.fault = [](std::string_view) { return absl::OkStatus(); };
  ASSERT_TRUE(engine_->CreateAlias("x", "c").ok());
  ASSERT_TRUE(engine_->UpdateCollection({.id = "x", .recall_target = 0.8, .graph = false}).ok());
  EXPECT_TRUE((*watcher)->Take().has_value());  // of the alias
  const auto told = (*watcher)->Take();
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(told->event.kind, Event::Kind::kCollectionUpdated);
  EXPECT_EQ(told->event.message,
            "collection `c` was changed: recall_target 0.8, before 0.9; graph false, before true");
}

TEST_F(EngineUpdateTest, RefusesWhatCannotBe) {
  Make("auto", {});
  Make("ivf", {.kind = IndexKind::kIvfFlat, .nlist = 8});
  const std::string policy = "collection.index_policy.";
  const auto field = [&](const CollectionUpdate& update) {
    const absl::Status status = engine_->UpdateCollection(update).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return FieldOf(status);
  };
  EXPECT_EQ(field({.id = "auto", .recall_target = 0}), policy + "recall_target");
  EXPECT_EQ(field({.id = "auto", .recall_target = 1.01}), policy + "recall_target");
  EXPECT_EQ(field({.id = "auto", .nprobe = 3}), policy + "parameters.nprobe");
  EXPECT_EQ(field({.id = "auto", .ef_search = 3}), policy + "parameters.ef_search");
  EXPECT_EQ(field({.id = "ivf", .nprobe = 9}), policy + "parameters.nprobe");
  EXPECT_EQ(field({.id = "ivf", .nprobe = -1}), policy + "parameters.nprobe");
  EXPECT_EQ(field({.id = "ivf", .graph = false}), policy + "parameters.graph");
  EXPECT_EQ(engine_->UpdateCollection({.id = "none", .nprobe = 1}).status().code(),
            absl::StatusCode::kNotFound);
  engine_->Shutdown();
  EXPECT_EQ(engine_->UpdateCollection({.id = "auto", .recall_target = 0.9}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(EngineUpdateTest, OfThoseWithOneEtagOneWins) {
  const std::string etag = Make("c", {.kind = IndexKind::kHnsw}).etag;
  std::atomic<int> won = 0, lost = 0;
  std::vector<std::thread> callers;
  for (int i = 1; i <= 8; ++i) {
    callers.emplace_back([&, i] {
      const auto info = engine_->UpdateCollection({.id = "c", .etag = etag, .ef_search = i});
      EXPECT_TRUE(!info.ok() || info->spec.index.ef_search == i);
      (info.ok() ? won : lost) += info.ok() || absl::IsAborted(info.status());
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(lost, 7);
}

TEST_F(EngineUpdateTest, SearchesGoByItAtOnce) {
  options_.tail_capacity = 1000;
  Reopen();
  // Its segments are built while a search scans one list.
  Make("ivf", {.kind = IndexKind::kIvfFlat, .nlist = 40, .nprobe = 1});
  FillAndTrain("ivf", 3000);
  EXPECT_EQ(EffortOf("ivf").nprobe, 1);
  ASSERT_TRUE(engine_->UpdateCollection({.id = "ivf", .nprobe = 7}).ok());
  EXPECT_EQ(EffortOf("ivf").nprobe, 7);
  EXPECT_EQ(EffortOf("ivf", {.nprobe = 2}).nprobe, 2);  // who says so himself gets that
  ASSERT_TRUE(engine_->UpdateCollection({.id = "ivf", .recall_target = 0.3, .nprobe = 0}).ok());
  const int64_t few = EffortOf("ivf").rows_scanned;
  ASSERT_TRUE(engine_->UpdateCollection({.id = "ivf", .recall_target = 1}).ok());
  const int64_t many = EffortOf("ivf").rows_scanned;
  EXPECT_GT(many, few);
  EXPECT_LT(EffortOf("ivf", {.recall_target = 0.3}).rows_scanned, many);
  EXPECT_EQ(engine_->EvaluateRecall("ivf", {}, {})->recall.recall_target, 1);
}

TEST_F(EngineUpdateTest, ATrainedShardTellsTheListsOfTheNewTarget) {
  options_.tail_capacity = 1000;
  Reopen();
  Make("auto", {.recall_target = 0.5, .graph = false});
  FillAndTrain("auto", 6000);
  const auto shard = [&] { return engine_->GetCollectionStats("auto")->shards[0]; };
  const ShardStats before = shard();
  ASSERT_GT(before.generation, 0u);
  ASSERT_TRUE(engine_->UpdateCollection({.id = "auto", .recall_target = 0.9}).ok());
  EXPECT_GT(shard().nprobe, before.nprobe);
  EXPECT_EQ(shard().generation, before.generation);  // nothing is trained because of it
}

TEST_F(EngineUpdateTest, AMigrationHasBothSidesGoByIt) {
  Create("c");
  Fill(40);
  ASSERT_TRUE(MigrateAndWait().ok());
  const auto changed = engine_->UpdateCollection({.id = "c", .recall_target = 0.8});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_TRUE(changed->migration.has_value());
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(Read("c").spec.index.recall_target, 0.8);
  EXPECT_EQ(Read("c").spec.dimension, kNewDimension);
  EXPECT_EQ(engine_->UpdateCollection({.id = "c", .etag = changed->etag, .recall_target = 0.7})
                .status()
                .code(),
            absl::StatusCode::kAborted);
  ASSERT_TRUE(engine_->UpdateCollection({.id = "c", .recall_target = 0.7}).ok());
  Reopen();
  CatchUp();
  ASSERT_TRUE(Switch(MigrationSide::kOld).ok());
  EXPECT_EQ(Read("c").spec.index.recall_target, 0.7);
  EXPECT_EQ(Read("c").spec.dimension, kDimension);
}

}  // namespace
}  // namespace vecino::engine
