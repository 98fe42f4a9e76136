// Tuning through the engine's door: the curve, what is stored of it, and what is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/engine/tuning.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;
using Type = Operation::Type;
using OutcomeKind = Operation::Outcome::Kind;

class EngineTuneTest : public EngineTest {
 protected:
  static constexpr int kRows = 6000;

  void SetUp() override {
    folder_ = testing::TempDir() + "/tune_" + std::to_string(getpid()) + "_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    options_.index_folder = folder_;
    options_.tail_capacity = 1000;
    options_.maintenance.exact_rows = 500;
    options_.maintenance.min_index_rows = 500;
    OpenGate(&options_.maintenance);
    options_.recall.sample_every = 0;
    options_.hooks.at = [this](std::string_view stage) {
      if (at_stage_) at_stage_(stage);
    };
    EngineTest::SetUp();
  }
  void TearDown() override {
    engine_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::vector<float> Random() { return RandomVector(kDimension, &rng_); }
  void Fill(const std::string& collection, int count) {
    for (int begin = 0; begin < count; begin += 500) {
      std::vector<DocumentWrite> writes;
      for (int i = begin; i < std::min(count, begin + 500); ++i) {
        stored_.push_back(Random());
        writes.push_back(Vector(std::to_string(i), stored_.back()));
        writes.back().document.metadata = absl::StrCat("{\"n\": ", i, "}");
      }
      for (const WriteResult& result : Upsert(collection, std::move(writes))) {
        ASSERT_TRUE(result.status.ok()) << result.status;
      }
    }
  }
  Operation::Info Wait(const std::string& collection, absl::StatusOr<Operation::Info> info) {
    EXPECT_TRUE(info.ok()) << info.status();
    if (!info.ok()) return {};
    const std::string id = info->id;
    while (!info->done) info = engine_->WaitOperation(collection, id, absl::Seconds(10), {});
    return *info;
  }
  // A collection whose shards are trained, with all rows under their generations.
  void MakeTrained(const std::string& id, int shards, int rows) {
    CollectionSpec spec;
    spec.id = id;
    spec.metric = Metric::kL2;
    spec.dimension = kDimension;
    spec.shard_count = shards;
    spec.index.graph = false;
    ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
    Fill(id, rows);
    const Operation::Info trained = Wait(id, engine_->StartOperation(id, Type::kRetrain, {}));
    ASSERT_TRUE(trained.status.ok()) << trained.status;
    const auto stats = engine_->GetCollectionStats(id);
    for (const ShardStats& shard : stats->shards) {
      ASSERT_GT(shard.generation, 0u);
      ASSERT_EQ(shard.tuned_points, 0);
    }
  }
  Operation::Info Tune(const std::string& collection, const TuneRequest& request) {
    return Wait(collection, engine_->TuneIndex(collection, request, {}));
  }
  // Rows that a search for `top_k` compares.
  int64_t Scanned(const std::string& collection, int top_k) {
    int64_t rows = 0;
    std::mt19937 rng(9);
    std::normal_distribution<float> normal;
    for (int i = 0; i < 20; ++i) {
      std::vector<float> vector(kDimension);
      for (float& x : vector) x = normal(rng);
      const auto found = engine_->Search(
          collection, {.query = VectorQuery{vector}, .top_k = top_k, .recall_target = 0.95}, {});
      EXPECT_TRUE(found.ok()) << found.status();
      if (found.ok()) rows += found->effort.rows_scanned;
    }
    return rows;
  }
  // Of stored documents, which are the nearest to themselves: one list finds them.
  TuneRequest EasyQueries() const {
    TuneRequest request;
    request.search.top_k = 1;
    request.search.vectors.assign(stored_.begin(), stored_.begin() + 100);
    return request;
  }
  // Of generations: what else there is belongs to maintenance.
  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("generation-")) files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  std::string folder_;
  std::mt19937 rng_{3};
  std::vector<std::vector<float>> stored_;
  std::function<void(std::string_view)> at_stage_;  // on the thread that works
};

TEST_F(EngineTuneTest, TheCurveRisesAndIsKept) {
  MakeTrained("c", 2, 2 * kRows);
  TuneRequest request;
  request.search.samples = 200;
  const Operation::Info info = Tune("c", request);
  ASSERT_TRUE(info.status.ok()) << info.status;
  ASSERT_NE(info.tuning, nullptr);
  const TuningResult& tuning = *info.tuning;
  EXPECT_EQ(tuning.queries, 200);
  EXPECT_EQ(tuning.live_queries, 0);
  EXPECT_EQ(tuning.share, 1);
  EXPECT_EQ(tuning.target, 0.95);
  ASSERT_GE(tuning.points.size(), 4u);
  for (size_t i = 1; i < tuning.points.size(); ++i) {
    const TuningPoint &before = tuning.points[i - 1], &point = tuning.points[i];
    EXPECT_GE(point.recall, before.recall - 0.02)
        << "point " << i << ": breadths " << before.breadth << " and " << point.breadth
        << ", rows compared " << before.rows_scanned << " and " << point.rows_scanned;
    EXPECT_LE(point.p50, point.p99) << i;
    EXPECT_GT(point.p50, absl::ZeroDuration()) << i;
    EXPECT_GT(point.rows_scanned, 0) << i;
  }
  EXPECT_LT(tuning.points.front().recall, 0.95);
  EXPECT_GT(tuning.points.back().recall, 0.98);
  EXPECT_LT(tuning.points.front().rows_scanned, tuning.points.back().rows_scanned);
  ASSERT_GE(tuning.recommended, 0);
  EXPECT_GE(tuning.points[static_cast<size_t>(tuning.recommended)].recall, 0.95);
  ASSERT_EQ(info.parts.size(), 2u);
  for (const Operation::Part& part : info.parts) {
    EXPECT_EQ(part.stage, "published");
    EXPECT_EQ(part.outcome.kind, OutcomeKind::kPublished) << part.outcome.reason;
    EXPECT_GT(part.outcome.recall_before, 0.8);
    EXPECT_GT(part.outcome.recall_after, 0.94);
    EXPECT_EQ(part.rows_done, 200);
  }
  const absl::Time now = absl::Now();
  const auto stats = engine_->GetCollectionStats("c");
  for (const ShardStats& shard : stats->shards) {
    EXPECT_GT(shard.tuned_points, 0);
    EXPECT_LT(now - shard.tuned_at, absl::Minutes(10));
    EXPECT_THAT(shard.last_choice, HasSubstr("tuned for k 10"));
  }
  RecallRequest evaluate;
  evaluate.samples = 300;
  EXPECT_GT(engine_->EvaluateRecall("c", evaluate, {})->recall.recall, 0.93);

  Reopen();
  const auto again = engine_->GetOperation("c", info.id);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_NE(again->tuning, nullptr);
  ASSERT_EQ(again->tuning->points.size(), tuning.points.size());
  EXPECT_EQ(again->tuning->recommended, tuning.recommended);
  EXPECT_EQ(again->tuning->points[0].breadth, tuning.points[0].breadth);
  EXPECT_NEAR(again->tuning->points[0].recall, tuning.points[0].recall, 1e-6);
  const auto after_start = engine_->GetCollectionStats("c");
  for (const ShardStats& shard : after_start->shards) {
    EXPECT_GT(shard.tuned_points, 0);
  }
}

// Of 6 to 9 hits as many are in one of four shards: 3 (index::RowsOfShard).
TEST_F(EngineTuneTest, AShardLooksForItsPartOfAnAnswer) {
  MakeTrained("four", 4, 2 * kRows);
  MakeTrained("one", 1, kRows);
  EXPECT_EQ(Scanned("four", 6), Scanned("four", 9));
  EXPECT_LT(Scanned("one", 2), Scanned("one", 10));
  RecallRequest evaluate;
  evaluate.top_k = 9;
  evaluate.samples = 300;
  const auto evaluation = engine_->EvaluateRecall("four", evaluate, {});
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  std::printf("recall of all %.4f, of the first shard %.4f\n", evaluation->recall.recall,
              evaluation->shards[0].recall);
  EXPECT_GT(evaluation->recall.recall, 0.935);
  EXPECT_GT(evaluation->shards[0].recall, 0.92);
  // Tuned for others it stays what it is.
  const int64_t of_ten = Scanned("four", 10), of_hundred = Scanned("four", 100);
  ASSERT_TRUE(Tune("four", EasyQueries()).status.ok());
  const auto stats = engine_->GetCollectionStats("four");
  for (const ShardStats& shard : stats->shards) {
    EXPECT_GT(shard.tuned_points, 0);
  }
  EXPECT_EQ(Scanned("four", 10), of_ten);
  EXPECT_EQ(Scanned("four", 100), of_hundred);
}

// What is told of several shards is what searches do from then on.
TEST_F(EngineTuneTest, ShardsSearchAsTheirTuningTells) {
  MakeTrained("c", 4, 2 * kRows);
  TuneRequest request;
  request.search.top_k = 10;
  for (int i = 0; i < 200; ++i) {
    request.search.vectors.push_back(Random());
    for (float& x : request.search.vectors.back()) x *= 2;  // far from all rows
  }
  const int64_t before = Scanned("c", 10);
  const Operation::Info info = Tune("c", request);
  ASSERT_TRUE(info.status.ok()) << info.status;
  int64_t told_before = 0, told_after = 0;
  for (const Operation::Part& part : info.parts) {
    told_before += part.outcome.rows_before;
    told_after += part.outcome.rows_after;
  }
  const int64_t after = Scanned("c", 10);
  std::printf("told %d -> %d rows, searches %d -> %d\n", static_cast<int>(told_before),
              static_cast<int>(told_after), static_cast<int>(before), static_cast<int>(after));
  EXPECT_NEAR(static_cast<double>(after) / static_cast<double>(before),
              static_cast<double>(told_after) / static_cast<double>(told_before), 0.1);
}

TEST_F(EngineTuneTest, SearchesGoByWhatWasStoredAlsoAfterAStart) {
  MakeTrained("c", 1, kRows);
  const int64_t of_one = Scanned("c", 1), of_hundred = Scanned("c", 100);
  const Operation::Info info = Tune("c", EasyQueries());
  ASSERT_TRUE(info.status.ok()) << info.status;
  EXPECT_EQ(info.parts[0].outcome.kind, OutcomeKind::kPublished) << info.parts[0].outcome.reason;
  EXPECT_LT(info.parts[0].outcome.rows_after, info.parts[0].outcome.rows_before);
  const int64_t tuned = Scanned("c", 1);
  EXPECT_LT(tuned, of_one);
  EXPECT_EQ(Scanned("c", 100), of_hundred);
  Reopen();
  EXPECT_EQ(Scanned("c", 1), tuned);
  EXPECT_EQ(Scanned("c", 100), of_hundred);
  // A training measures anew.
  ASSERT_TRUE(Wait("c", engine_->StartOperation("c", Type::kRetrain, {})).status.ok());
  EXPECT_EQ(engine_->GetCollectionStats("c")->shards[0].tuned_points, 0);
}

class ExpiringTuneTest : public EngineTuneTest {
 protected:
  void SetUp() override {
    options_.clock = [this] { return absl::FromUnixMicros(now_.load()); };
    options_.reap_interval = absl::Hours(1);  // what has expired stays
    EngineTuneTest::SetUp();
  }
  std::atomic<int64_t> now_{1'000'000'000};
};

// A search asks for as many rows more as have expired; they are gone when the curve is used.
TEST_F(ExpiringTuneTest, ATuningHoldsThoughSomeHaveExpired) {
  MakeTrained("c", 1, kRows);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 5; ++i) {
    writes.push_back(Vector(absl::StrCat("e", i), Random()));
    writes.back().document.expire_time_us = now_ + 1'000'000;
  }
  for (const WriteResult& result : Upsert("c", std::move(writes))) ASSERT_TRUE(result.status.ok());
  const int64_t of_one = Scanned("c", 1);
  now_ += 2'000'000;
  const Operation::Info info = Tune("c", EasyQueries());
  ASSERT_TRUE(info.status.ok()) << info.status;
  EXPECT_EQ(info.parts[0].outcome.kind, OutcomeKind::kPublished) << info.parts[0].outcome.reason;
  now_ -= 2'000'000;
  EXPECT_LT(Scanned("c", 1), of_one);
}

TEST_F(EngineTuneTest, CancelledAtAnyStageItLeavesNothingBehind) {
  MakeTrained("c", 1, kRows);
  const int64_t scanned = Scanned("c", 1);
  const std::vector<std::string> files = Files();
  const ShardStats before = engine_->GetCollectionStats("c")->shards[0];
  for (const std::string stage : {"measuring", "storing"}) {
    SCOPED_TRACE(stage);
    at_stage_ = [&](std::string_view now) {
      if (now != stage) return;
      const auto listed = engine_->ListOperations("c", "", 100);
      for (const auto& info : *listed) {
        if (info.type != Type::kTune) continue;
        EXPECT_TRUE(engine_->CancelOperation("c", info.id).ok());
      }
    };
    const Operation::Info info = Tune("c", EasyQueries());
    EXPECT_EQ(info.status.code(), absl::StatusCode::kCancelled) << info.status;
    EXPECT_EQ(info.parts[0].stage, "cancelled");
    EXPECT_EQ(info.tuning, nullptr);
    const ShardStats after = engine_->GetCollectionStats("c")->shards[0];
    EXPECT_EQ(after.tuned_points, 0);
    EXPECT_EQ(after.last_choice, before.last_choice);
    EXPECT_EQ(Scanned("c", 1), scanned);
    EXPECT_EQ(Files(), files);
  }
  at_stage_ = nullptr;
}

TEST_F(EngineTuneTest, ATrainingMeanwhileAbortsIt) {
  MakeTrained("c", 1, kRows);
  bool trained = false;
  at_stage_ = [&](std::string_view now) {
    if (now != "storing" || trained) return;
    trained = true;
    EXPECT_TRUE(Wait("c", engine_->StartOperation("c", Type::kRetrain, {})).status.ok());
  };
  const Operation::Info info = Tune("c", EasyQueries());
  EXPECT_TRUE(trained);
  EXPECT_EQ(info.status.code(), absl::StatusCode::kAborted) << info.status;
  EXPECT_EQ(engine_->GetCollectionStats("c")->shards[0].tuned_points, 0);
}

// By then it was measured with another number of lists than its settings say.
TEST_F(EngineTuneTest, AnotherPolicyMeanwhileAbortsIt) {
  CollectionSpec spec;
  spec.id = "c";
  spec.metric = Metric::kL2;
  spec.dimension = kDimension;
  spec.shard_count = 1;
  spec.index.kind = IndexKind::kIvfFlat;
  spec.index.nlist = 16;
  ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  Fill("c", 2000);
  ASSERT_TRUE(Wait("c", engine_->StartOperation("c", Type::kRetrain, {})).status.ok());
  int changes = 0;
  CollectionUpdate update = {.id = "c", .nprobe = 3};
  at_stage_ = [&](std::string_view now) {
    if (now != "measuring" || changes++ > 0) return;
    EXPECT_TRUE(engine_->UpdateCollection(update).ok());
  };
  Operation::Info info = Tune("c", EasyQueries());
  EXPECT_EQ(info.status.code(), absl::StatusCode::kAborted) << info.status;
  EXPECT_EQ(info.tuning, nullptr);
  // Another target is no reason: every target has a setting.
  update = {.id = "c", .recall_target = 0.8};
  changes = 0;
  info = Tune("c", EasyQueries());
  EXPECT_TRUE(info.status.ok()) << info.status;
  EXPECT_GT(changes, 0);
}

TEST_F(EngineTuneTest, AStopAbortsWhatRunsAndWhatWaits) {
  MakeTrained("c", 1, kRows);
  absl::Notification measuring;
  at_stage_ = [&](std::string_view now) {
    if (now != "measuring") return;
    if (!measuring.HasBeenNotified()) measuring.Notify();
    while (!absl::IsUnavailable(engine_->GetCollection("c").status())) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  };
  const auto runs = engine_->TuneIndex("c", EasyQueries(), {});
  const auto waits = engine_->TuneIndex("c", EasyQueries(), {});
  ASSERT_TRUE(runs.ok() && waits.ok()) << runs.status() << waits.status();
  measuring.WaitForNotification();
  engine_->Shutdown();
  at_stage_ = nullptr;
  Reopen();
  for (const auto& started : {runs, waits}) {
    const auto info = engine_->GetOperation("c", started->id);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_TRUE(info->done);
    EXPECT_EQ(info->status.code(), absl::StatusCode::kAborted) << info->status;
    EXPECT_THAT(std::string(info->status.message()), HasSubstr("start it again"));
  }
  EXPECT_EQ(engine_->GetCollectionStats("c")->shards[0].tuned_points, 0);
}

TEST_F(EngineTuneTest, OfACollectionThatWasMadeAnewNothingIsStored) {
  MakeTrained("c", 1, kRows);
  absl::Notification measuring, made;
  int stored = 0;
  at_stage_ = [&](std::string_view now) {
    if (now == "storing") ++stored;
    if (now != "measuring") return;
    if (!measuring.HasBeenNotified()) measuring.Notify();
    made.WaitForNotification();
  };
  const auto runs = engine_->TuneIndex("c", EasyQueries(), {});
  const auto waits = engine_->TuneIndex("c", EasyQueries(), {});
  EXPECT_TRUE(runs.ok() && waits.ok()) << runs.status() << waits.status();
  measuring.WaitForNotification();
  EXPECT_TRUE(engine_->DeleteCollection("c", "").ok());
  Create("c", 1, Metric::kL2, "");
  made.Notify();
  Fill("c", 100);
  TuneRequest last;
  last.search.top_k = 1;
  EXPECT_TRUE(Tune("c", last).status.ok());  // behind both
  EXPECT_EQ(stored, 1);                      // which it was
  at_stage_ = nullptr;
}

TEST(QueriesAtOnceTest, KeepsNoMoreThan64MiBOfHits) {
  EXPECT_EQ(QueriesAtOnce(20, 2, 10), 16u);
  EXPECT_EQ(QueriesAtOnce(1, 64, 1000), 16u);
  for (const size_t rungs : {13u, 20u}) {
    const size_t bytes = QueriesAtOnce(rungs, 64, 1000) * rungs * 64 * 1000 * sizeof(ShardHit);
    EXPECT_LE(bytes, 64u << 20) << rungs;
    EXPECT_GT(bytes, 32u << 20) << rungs;
  }
  EXPECT_EQ(QueriesAtOnce(1000, 1000, 1000), 1u);
}

TEST_F(EngineTuneTest, AnEstimateChangesNothing) {
  MakeTrained("c", 1, kRows);
  const int64_t scanned = Scanned("c", 1);
  const auto estimate = engine_->EstimateTuning("c", EasyQueries(), {});
  ASSERT_TRUE(estimate.ok()) << estimate.status();
  EXPECT_EQ(estimate->rows, kRows);
  EXPECT_GT(estimate->duration, absl::ZeroDuration());
  EXPECT_GT(estimate->peak_bytes, 0);
  const auto listed = engine_->ListOperations("c", "", 100);
  for (const auto& info : *listed) EXPECT_NE(info.type, Type::kTune);
  EXPECT_EQ(engine_->GetCollectionStats("c")->shards[0].tuned_points, 0);
  EXPECT_EQ(Scanned("c", 1), scanned);
}

TEST_F(EngineTuneTest, OtherSearchesSayWhyNothingIsStored) {
  MakeTrained("c", 1, kRows);
  TuneRequest few = EasyQueries();
  few.search.vectors.resize(3);
  Operation::Info info = Tune("c", few);
  ASSERT_TRUE(info.status.ok()) << info.status;
  EXPECT_EQ(info.tuning->queries, 3);
  EXPECT_EQ(info.parts[0].outcome.kind, OutcomeKind::kNotNeeded);
  EXPECT_THAT(info.parts[0].outcome.reason, HasSubstr("50 are needed"));

  // So few pass that all of them are compared.
  TuneRequest filtered = EasyQueries();
  filtered.search.filter = "n < 600";
  info = Tune("c", filtered);
  ASSERT_TRUE(info.status.ok()) << info.status;
  EXPECT_NEAR(info.tuning->share, 0.1, 1e-9);
  ASSERT_EQ(info.tuning->points.size(), 1u);
  EXPECT_TRUE(info.tuning->points[0].exact);
  EXPECT_THAT(info.parts[0].outcome.reason, HasSubstr("exact"));
  filtered.search.filter = "n < 0";
  info = Tune("c", filtered);
  EXPECT_EQ(info.status.code(), absl::StatusCode::kFailedPrecondition) << info.status;

  // A wide filter has a share of its own; the others are as they were.
  const int64_t of_one = Scanned("c", 1);
  filtered.search.filter = "n < 4500";
  info = Tune("c", filtered);
  ASSERT_TRUE(info.status.ok()) << info.status;
  EXPECT_EQ(info.parts[0].outcome.kind, OutcomeKind::kPublished) << info.parts[0].outcome.reason;
  EXPECT_EQ(Scanned("c", 1), of_one);

  CollectionSpec flat;
  flat.id = "flat";
  flat.metric = Metric::kL2;
  flat.dimension = kDimension;
  flat.shard_count = 1;
  flat.index.kind = IndexKind::kFlat;
  ASSERT_TRUE(engine_->CreateCollection(flat, false).ok());
  Fill("flat", 700);
  info = Tune("flat", {});
  ASSERT_TRUE(info.status.ok()) << info.status;
  ASSERT_EQ(info.tuning->points.size(), 1u);
  EXPECT_EQ(info.tuning->points[0].recall, 1);
  EXPECT_TRUE(info.tuning->points[0].exact);
  EXPECT_EQ(info.tuning->points[0].breadth, 0);
  EXPECT_GT(info.tuning->points[0].rows_scanned, 0);
  EXPECT_EQ(info.tuning->recommended, 0);
  EXPECT_EQ(info.tuning->queries, 500);
}

TEST_F(EngineTuneTest, BadRequestsAreRefused) {
  Create("c", 2, Metric::kL2, "");
  TuneRequest request;
  const auto status = [&](const TuneRequest& asked, const std::string& collection = "c") {
    const absl::Status refused = engine_->TuneIndex(collection, asked, {}).status();
    EXPECT_EQ(engine_->EstimateTuning(collection, asked, {}).status(), refused);
    return refused;
  };
  EXPECT_EQ(status(request).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status(request).message()), HasSubstr("no documents with a vector"));
  EXPECT_EQ(status(request, "none").code(), absl::StatusCode::kNotFound);
  Fill("c", 500);
  const auto field = [&](auto change) {
    TuneRequest asked;
    change(asked);
    const absl::Status refused = status(asked);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
    return FieldOf(refused);
  };
  EXPECT_EQ(field([](TuneRequest& r) { r.shards = {2}; }), "shards[0]");
  EXPECT_EQ(field([](TuneRequest& r) { r.search.top_k = 0; }), "top_k");
  EXPECT_EQ(field([](TuneRequest& r) { r.search.samples = 2001; }), "samples");
  EXPECT_EQ(field([](TuneRequest& r) { r.search.filter = "n ="; }), "filter");
  EXPECT_EQ(field([](TuneRequest& r) { r.search.recall_target = 1.5; }), "recall_target");
  EXPECT_EQ(field([](TuneRequest& r) { r.search.vectors = {{1, 2}}; }), "vectors[0]");
  request.search.texts = {"a"};
  EXPECT_EQ(status(request).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(engine_->ListOperations("c", "", 10)->empty());
}

}  // namespace
}  // namespace vecino::engine
