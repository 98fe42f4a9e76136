// Recall measured through the engine's door: samples beside writers, probes, evaluations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "absl/time/clock.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

class EngineRecallTest : public EngineTest {
 protected:
  void SetUp() override {
    options_.recall.sample_every = 1;
    options_.recall.samples_per_second = 1e6;
    options_.recall.queue = 1000;
    options_.recall.max_age = absl::Hours(1);  // the thread is the last that a busy machine serves
    options_.recall.probe_interval = absl::Hours(1);
    EngineTest::SetUp();
  }
  std::vector<float> Random() { return RandomVector(kDimension, &rng_); }
  void Fill(const std::string& collection, int first, int count) {
    for (int begin = first; begin < first + count; begin += 500) {
      std::vector<DocumentWrite> writes;
      for (int i = begin; i < std::min(first + count, begin + 500); ++i) {
        writes.push_back(Vector(std::to_string(i), Random()));
        writes.back().document.metadata = "{\"n\": " + std::to_string(i) + "}";
      }
      for (const WriteResult& result : Upsert(collection, std::move(writes))) {
        ASSERT_TRUE(result.status.ok()) << result.status;
      }
    }
  }
  RecallStats Recall(const std::string& collection) {
    return engine_->GetCollectionStats(collection)->recall;
  }
  bool Measured(const std::string& collection, int64_t searches) {
    return Eventually([&] { return Recall(collection).live.samples >= searches; });
  }

  std::mt19937 rng_{3};
};

// Rows come, go and change, tails are drained and segments merged, all the while. What is compared
// row by row has recall 1, and nothing has more.
TEST_F(EngineRecallTest, ExactCollectionsHaveRecallOneBesideWriters) {
  Create("c", 2, Metric::kL2, "");
  Fill("c", 0, 2000);
  std::atomic<bool> stop = false;
  std::vector<std::thread> writers;
  for (int w = 0; w < 2; ++w) {
    writers.emplace_back([&, w] {
      std::mt19937 rng(static_cast<unsigned>(w));
      std::normal_distribution<float> normal;
      while (!stop) {
        std::vector<DocumentWrite> writes;
        for (int i = 0; i < 20; ++i) {
          std::vector<float> vector(kDimension);
          for (float& x : vector) x = normal(rng);
          writes.push_back(Vector(std::to_string(rng() % 3000), std::move(vector)));
          writes.back().document.metadata = "{\"n\": " + std::to_string(rng() % 3000) + "}";
        }
        EXPECT_TRUE(engine_->Upsert("c", std::move(writes), Truncate::kAuto, {}).ok());
        std::vector<std::string> ids;
        for (int i = 0; i < 10; ++i) ids.push_back(std::to_string(rng() % 3000));
        EXPECT_TRUE(engine_->Delete("c", ids, {}).ok());
      }
    });
  }
  int searches = 0;
  const absl::Time end = absl::Now() + absl::Seconds(5);
  while (searches < 400 && (absl::Now() < end || searches < 100)) {
    SearchRequest request{.query = VectorQuery{Random()}, .top_k = 1 + searches % 30};
    if (searches % 3 == 1) request.filter = "n < 300";
    if (searches % 3 == 2) request.filter = "n >= 300";
    const auto result = engine_->Search("c", request, {});
    ASSERT_TRUE(result.ok()) << result.status();
    ++searches;
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  ASSERT_TRUE(Measured("c", searches));
  const auto stats = engine_->GetCollectionStats("c");
  EXPECT_EQ(stats->recall.live.samples, searches);
  EXPECT_EQ(stats->recall.live.recall, 1);
  EXPECT_EQ(stats->recall.live.upper, 1);
  EXPECT_GE(stats->recall.by_kind.size(), 5u);
  for (const RecallEstimate& kind : stats->recall.by_kind) EXPECT_EQ(kind.recall, 1);
  for (const ShardStats& shard : stats->shards) {
    EXPECT_TRUE(Eventually([&] {
      return engine_->GetCollectionStats("c")->shards[shard.shard].recall.live.samples == searches;
    }));
    EXPECT_EQ(shard.recall.live.recall, 1);
  }
  EXPECT_EQ(metrics_.Value("vecino_recall_estimate,c,live"), 1);
  EXPECT_EQ(metrics_.Value("vecino_recall_samples,c,live"), searches);
}

TEST_F(EngineRecallTest, OnlySearchesThatLeaveItToTheIndexAreSampled) {
  Create("c", 2, Metric::kCosine, "fake");
  Create("flat", 1, Metric::kL2, "");
  for (int i = 0; i < 40; ++i) Put("c", std::to_string(i), "text " + std::to_string(i));
  const auto search = [&](SearchRequest request) {
    EXPECT_TRUE(engine_->Search("c", request, {}).ok());
  };
  search({.query = TextQuery{"a"}, .exact = true});
  search({.query = TextQuery{"a"}, .nprobe = 3});
  search({.query = TextQuery{"a"}, .ef_search = 30});
  search({.query = TextQuery{"a"}, .rerank = 30});
  search({.query = DocumentQuery{"3"}});
  search({.query = LexicalQuery{"text"}});
  search({.query = HybridQuery{TextQuery{"a"}, "text", {}}});
  search({.query = TextQuery{"a"}, .group_by = GroupBy{"n", 1}});
  search({.query = TextQuery{"a"}, .diversify = Diversify{}});
  search({.query = TextQuery{"a"}});
  search({.query = TextQuery{"b"}, .recall_target = 0.5});
  search({.query = TextQuery{"c"}, .min_score = 0.0f});
  search({.query = VectorQuery{Random()}, .filter = "n = 5"});  // nothing to find
  EXPECT_TRUE(Measured("c", 3));
  absl::SleepFor(absl::Milliseconds(50));  // what else would come were there soon
  EXPECT_EQ(Recall("c").live.samples, 3);
  EXPECT_EQ(Recall("c").live.recall, 1);
  EXPECT_NEAR(Recall("c").live.recall_target, (0.95 + 0.5 + 0.95) / 3, 1e-6);
  EXPECT_FALSE(Recall("c").live.enough());
  EXPECT_EQ(metrics_.Value("vecino_recall_samples,c,live"), 3);
  EXPECT_EQ(metrics_.Value("vecino_recall_estimate,c,live"), 0);  // not there
  EXPECT_EQ(metrics_.Value("vecino_recall_samples_dropped_total,failed"), 0);
}

TEST_F(EngineRecallTest, EvaluatesGivenAndStoredQueries) {
  Create("c", 2, Metric::kCosine, "fake");
  Fill("c", 0, 1000);
  RecallRequest request;
  auto evaluation = engine_->EvaluateRecall("c", request, {});
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->recall.samples, 200);
  EXPECT_EQ(evaluation->recall.recall, 1);
  EXPECT_EQ(evaluation->recall.source, RecallSource::kStoredDocuments);
  EXPECT_EQ(evaluation->recall.min_k, 10);
  EXPECT_EQ(evaluation->recall.recall_target, 0.95);
  ASSERT_EQ(evaluation->shards.size(), 2u);
  EXPECT_EQ(evaluation->shards[1].samples, 200);
  EXPECT_GT(evaluation->search_time, absl::ZeroDuration());
  EXPECT_GT(evaluation->exact_time, absl::ZeroDuration());
  EXPECT_EQ(Recall("c").live.samples, 0);  // these are apart

  request.vectors = {Random(), Random(), Random()};
  request.texts = {"one", "two"};
  request.top_k = 3;
  request.filter = "n < 100";
  request.recall_target = 0.9;
  evaluation = engine_->EvaluateRecall("c", request, {});
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->recall.samples, 5);
  EXPECT_EQ(evaluation->recall.recall, 1);
  EXPECT_EQ(evaluation->recall.source, RecallSource::kGiven);
  EXPECT_EQ(evaluation->recall.recall_target, 0.9);
  EXPECT_EQ(evaluation->recall.above_share, 0.01);
  EXPECT_EQ(evaluation->recall.up_to_share, 0.1);

  request.filter = "n < 0";  // nothing to find
  evaluation = engine_->EvaluateRecall("c", request, {});
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->recall.samples, 0);

  // Fewer documents than asked for; each is asked for once.
  Create("small", 3, Metric::kL2, "");
  EXPECT_EQ(engine_->EvaluateRecall("small", {}, {})->recall.samples, 0);
  Fill("small", 0, 30);
  for (int i = 0; i < 10; ++i) Delete("small", std::to_string(i));
  evaluation = engine_->EvaluateRecall("small", {.samples = 100}, {});
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->recall.samples, 20);
}

TEST_F(EngineRecallTest, EvaluationRefusesBadRequestsAndStops) {
  Create("c", 1, Metric::kCosine, "fake");
  Create("v", 1, Metric::kCosine, "");
  Fill("c", 0, 1000);
  const auto field = [&](RecallRequest request) {
    const absl::Status status = engine_->EvaluateRecall("c", request, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return FieldOf(status);
  };
  EXPECT_EQ(field({.samples = 2001}), "samples");
  EXPECT_EQ(field({.samples = -1}), "samples");
  EXPECT_EQ(field({.texts = {"a"}, .samples = 5}), "samples");
  EXPECT_EQ(field({.texts = {"a", ""}}), "texts[1]");
  EXPECT_EQ(field({.texts = {"\xff"}}), "texts[0]");
  EXPECT_EQ(field({.texts = std::vector<std::string>(1001, "a")}), "texts");
  EXPECT_EQ(field({.vectors = {Random(), {1, 2}}}), "vectors[1]");
  EXPECT_EQ(field({.top_k = 0}), "top_k");
  EXPECT_EQ(field({.top_k = 1001}), "top_k");
  EXPECT_EQ(field({.filter = "n ="}), "filter");
  EXPECT_EQ(field({.recall_target = 1.5}), "recall_target");
  EXPECT_EQ(engine_->EvaluateRecall("v", {.texts = {"a"}}, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(engine_->EvaluateRecall("none", {}, {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->EvaluateRecall("c", {}, {.deadline = absl::Now()}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(engine_->EvaluateRecall("c", {}, {.stop = stop.get_token()}).status().code(),
            absl::StatusCode::kCancelled);
}

// Searches that are under way when a collection or the engine goes are forgotten, with what they
// hold.
TEST_F(EngineRecallTest, GoesWithItsCollectionAndItsEngine) {
  for (int round = 0; round < 3; ++round) {
    Create("c", 2, Metric::kL2, "");
    Fill("c", 0, 500);
    for (int i = 0; i < 50; ++i) {
      EXPECT_TRUE(engine_->Search("c", {.query = VectorQuery{Random()}}, {}).ok());
    }
    if (round == 2) break;
    EXPECT_TRUE(engine_->DeleteCollection("c", "").ok());
  }
  Reopen();
  EXPECT_EQ(Recall("c").live.samples, 0);
}

}  // namespace
}  // namespace vecino::engine
