// Searches through the engine's door.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "server/engine/shard_of.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;

std::vector<float> Axis(int i, float scale = 1) {
  std::vector<float> v(8);
  v[i] = scale;
  return v;
}

TEST_F(EngineTest, SearchRanksByEachMetric) {
  struct Case {
    Metric metric;
    std::vector<std::string> order;
    std::vector<float> scores;
  };
  const std::vector<float> query = {2, 1, 0, 0, 0, 0, 0, 0};
  const float n = std::sqrt(5.0f);
  for (const Case& c : {Case{Metric::kCosine, {"big", "x", "y", "z"}, {2 / n, 2 / n, 1 / n, 0}},
                        Case{Metric::kDot, {"big", "x", "y", "z"}, {20, 2, 1, 0}},
                        Case{Metric::kL2, {"x", "y", "z", "big"}, {2, 4, 6, 65}}}) {
    const std::string name = "c" + std::to_string(static_cast<int>(c.metric));
    Create(name, 1, c.metric, "");
    Upsert(name, {Vector("big", Axis(0, 10)), Vector("x", Axis(0)), Vector("y", Axis(1)),
                  Vector("z", Axis(2))});
    const auto result = engine_->Search(name, {.query = VectorQuery{query}}, {});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->metric, c.metric);
    ASSERT_EQ(result->hits.size(), 4u);
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(result->hits[i].document.id, c.order[i]);
      EXPECT_NEAR(result->hits[i].score, c.scores[i], 1e-5);
    }
  }
}

TEST_F(EngineTest, SearchByTextFindsTheSameText) {
  Create("c", 4);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 100; ++i) writes.push_back(Text(std::to_string(i), "t" + std::to_string(i)));
  Upsert("c", writes);
  const auto result = engine_->Search(
      "c", {.query = TextQuery{"t42"}, .top_k = 5, .parts = {.text = true, .vector = true}}, {});
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->hits.size(), 5u);
  EXPECT_EQ(result->hits[0].document.id, "42");
  EXPECT_EQ(result->hits[0].document.text, "t42");
  EXPECT_EQ(result->hits[0].document.vector.size(), 8u);
  EXPECT_NEAR(result->hits[0].score, 1, 1e-6);
  EXPECT_LE(result->hits[0].score, 1);
  EXPECT_EQ(result->query_token_count, 3);
  EXPECT_EQ(encoder_.last_lane, encoder::Lane::kQuery);
  EXPECT_EQ(metrics_.Value("vecino_searches_total"), 1);
}

TEST_F(EngineTest, SearchByDocumentLeavesItOut) {
  Create("c", 3, Metric::kL2, "");
  Upsert("c", {Vector("a", Axis(0)), Vector("b", Axis(0)), Vector("c", Axis(1))});
  EXPECT_EQ(Find("c", {.query = DocumentQuery{"a"}, .top_k = 1}), std::vector<std::string>{"b"});
  EXPECT_THAT(Find("c", {.query = DocumentQuery{"a"}}), ElementsAre("b", "c"));
  EXPECT_EQ(engine_->Search("c", {.query = DocumentQuery{"missing"}}, {}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(EngineTest, EqualScoresComeInTheOrderTheyWereWritten) {
  Create("c", 1, Metric::kCosine, "");
  for (const char* id : {"z", "a", "m"}) Upsert("c", {Vector(id, Axis(3))});
  EXPECT_THAT(Find("c", {.query = VectorQuery{Axis(3)}}), ElementsAre("z", "a", "m"));
}

TEST_F(EngineTest, SearchRefusesBadRequests) {
  Create("c");
  const auto field = [&](SearchRequest request) {
    const absl::Status status = engine_->Search("c", request, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return FieldOf(status);
  };
  EXPECT_EQ(field({.query = TextQuery{""}}), "text");
  EXPECT_EQ(field({.query = TextQuery{"\xff"}}), "text");
  EXPECT_EQ(field({.query = TextQuery{"much longer than the window", Truncate::kError}}), "text");
  EXPECT_EQ(field({.query = VectorQuery{{1, 2}}}), "vector");
  EXPECT_EQ(field({.query = VectorQuery{std::vector<float>(8)}}), "vector");
  EXPECT_EQ(field({.query = DocumentQuery{""}}), "document_id");
  EXPECT_EQ(field({.query = TextQuery{"a"}, .top_k = 0}), "top_k");
  EXPECT_EQ(field({.query = TextQuery{"a"}, .top_k = 1001}), "top_k");
  EXPECT_EQ(field({.query = TextQuery{"a"}, .tokens = {{0, 0}, {2, 0}}}), "write_tokens[1].shard");
  EXPECT_EQ(field({.query = TextQuery{"a"}, .tokens = {{-1, 0}}}), "write_tokens[0].shard");
}

TEST_F(EngineTest, SearchWaitsForWriteTokens) {
  Create("c", 1);
  const WriteResult written = Put("c", "a", "text");
  SearchRequest request{.query = TextQuery{"text"}, .tokens = {written.token}};
  EXPECT_EQ(Find("c", request).size(), 1u);
  request.tokens[0].sequence += 1;
  CallContext context;
  context.deadline = absl::Now() + absl::Milliseconds(20);
  EXPECT_EQ(engine_->Search("c", request, context).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  context = {.stop = stop.get_token()};
  std::thread canceller([&] { stop.request_stop(); });
  EXPECT_EQ(engine_->Search("c", request, context).status().code(), absl::StatusCode::kCancelled);
  canceller.join();
  std::thread writer([&] { Put("c", "b", "text"); });
  EXPECT_EQ(Find("c", request).size(), 2u);  // has waited for it
  writer.join();
}

// The store has the new version, the index does not yet: the old one is gone when it is fetched.
TEST_F(EngineTest, SearchBetweenLogAndIndexWaitsForTheNewVersion) {
  Create("c", 1);
  Put("c", "a", "one");
  Put("c", "b", "two");
  std::thread searcher;
  std::vector<std::string> found;
  bool once = false;
  store_.after_append = [&] {
    if (std::exchange(once, true)) return;
    searcher = std::thread([&] { found = FindText("c", "one", 2); });
    // The search ends only after the append returns, so wait for its first look at the store
    // instead.
    while (metrics_.Value("vecino_search_reruns_total") == 0) std::this_thread::yield();
  };
  Put("c", "a", "three");
  searcher.join();
  EXPECT_EQ(found.size(), 2u);
}

TEST_F(EngineTest, DeletedBetweenScanAndFetchIsMadeUpFor) {
  Create("c", 2);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 40; ++i) writes.push_back(Text(std::to_string(i), "t" + std::to_string(i)));
  Upsert("c", writes);
  const std::vector<std::string> before = FindText("c", "query", 10);
  int fetches = 0;
  store_.fault = [&](std::string_view operation) {
    if (operation == "GetDocuments" && fetches++ == 0) {
      EXPECT_TRUE(Delete("c", before[0]).status.ok());
    }
    return absl::OkStatus();
  };
  const std::vector<std::string> after = FindText("c", "query", 10);
  ASSERT_EQ(after.size(), 10u);
  EXPECT_TRUE(std::equal(before.begin() + 1, before.end(), after.begin()));
}

// What was written lately is known; after a start the store is asked once.
TEST_F(EngineTest, IdsAloneAreReadFromTheStoreOnce) {
  Create("c", 2);
  for (int i = 0; i < 20; ++i) Put("c", std::to_string(i), "t" + std::to_string(i));
  std::atomic<int> fetches = 0;  // maintenance calls the store too
  store_.fault = [&](std::string_view operation) {
    if (operation == "GetDocuments") ++fetches;
    return absl::OkStatus();
  };
  SearchRequest request{.query = TextQuery{"query"}};
  request.parts = {.text = false, .metadata = false, .vector = false};
  const auto written = engine_->Search("c", request, {});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->hits.size(), 10u);
  EXPECT_EQ(fetches, 0);
  Reopen();
  const auto first = engine_->Search("c", request, {});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_GT(fetches, 0);
  fetches = 0;
  const auto second = engine_->Search("c", request, {});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(fetches, 0);
  ASSERT_EQ(second->hits.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    const storage::Document &a = first->hits[i].document, &b = second->hits[i].document;
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.sequence, b.sequence);
    EXPECT_EQ(a.create_time_us, b.create_time_us);
    EXPECT_EQ(a.update_time_us, b.update_time_us);
    EXPECT_EQ(first->hits[i].score, second->hits[i].score);
  }
  // What was found last does not come back once it is deleted or replaced.
  const std::string gone = first->hits[0].document.id, changed = first->hits[1].document.id;
  EXPECT_TRUE(Delete("c", gone).status.ok());
  Put("c", changed, "t" + changed);
  const auto third = engine_->Search("c", request, {});
  ASSERT_TRUE(third.ok()) << third.status();
  for (const SearchHit& hit : third->hits) EXPECT_NE(hit.document.id, gone);
  EXPECT_EQ(third->hits[0].document.id, changed);
  EXPECT_GT(third->hits[0].document.sequence, first->hits[1].document.sequence);
  // Other parts are not in memory.
  request.parts.text = true;
  fetches = 0;
  EXPECT_EQ(engine_->Search("c", request, {})->hits[0].document.text, "t" + changed);
  EXPECT_GT(fetches, 0);
}

TEST_F(EngineTest, WritersThatAlwaysWinAreMadeToWait) {
  Create("c", 1);
  Put("c", "a", "one");
  Put("c", "b", "two");
  int round = 0;
  store_.fault = [&](std::string_view operation) {
    // Replaces both between every scan and its fetch, until writers have to wait.
    if (operation == "GetDocuments" && round < 4) {
      ++round;
      Put("c", "a", "one");
      Put("c", "b", "two");
    }
    return absl::OkStatus();
  };
  EXPECT_THAT(FindText("c", "one", 2), ElementsAre("a", "b"));
  EXPECT_EQ(round, 4);
  EXPECT_EQ(metrics_.Value("vecino_search_reruns_total"), 3);
}

TEST_F(EngineTest, ACollectionDeletedDuringASearchIsNotFound) {
  Create("c", 1);
  Put("c", "a", "one");
  bool once = false;
  store_.fault = [&](std::string_view operation) {
    if (operation == "GetDocuments" && !std::exchange(once, true)) {
      EXPECT_TRUE(engine_->DeleteCollection("c", "").ok());
    }
    return absl::OkStatus();
  };
  EXPECT_EQ(engine_->Search("c", {.query = TextQuery{"one"}}, {}).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace vecino::engine
