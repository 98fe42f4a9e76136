// Reranking, through the engine, with an encoder that scores by common beginnings.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class EngineRerankTest : public EngineTest {
 protected:
  void SetUp() override {
    AddReranker("ce");
    EngineTest::SetUp();
    Create("c", 2, Metric::kL2, "");
    // Nearest first: d0, d1, ... Their texts begin with the more of "abcdef" the farther they are.
    std::vector<DocumentWrite> writes;
    for (int i = 0; i < 6; ++i) {
      std::vector<float> vector(kDimension, 0);
      vector[0] = static_cast<float>(i);
      writes.push_back(Vector(absl::StrCat("d", i), std::move(vector)));
      writes.back().document.text = std::string("abcdef").substr(0, i) + "-";
    }
    Upsert("c", std::move(writes));
  }

  void AddReranker(const std::string& name, const std::string& precision = "fp32") {
    encoder::ModelInfo info;
    info.name = name;
    info.max_tokens = 16;
    info.precision = precision;
    info.task = encoder::Task::kRerank;
    info.activation = "sigmoid";
    encoder_.models.push_back(info);
  }

  static SearchRequest Request(int top_k = 3) {
    SearchRequest request{.query = VectorQuery{std::vector<float>(kDimension, 0)}, .top_k = top_k};
    request.reranking = Rerank{.query = "abcdef"};
    return request;
  }

  std::string FieldOfSearch(const SearchRequest& request) {
    const auto result = engine_->Search("c", request, {});
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << result.status();
    return FieldOf(result.status());
  }
};

TEST_F(EngineRerankTest, HitsComeByTheRerankersScore) {
  const auto result = engine_->Search("c", Request(), {});
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->hits.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    const SearchHit& hit = result->hits[static_cast<size_t>(i)];
    EXPECT_EQ(hit.document.id, absl::StrCat("d", 5 - i));
    EXPECT_FLOAT_EQ(hit.rerank_score.value(), static_cast<float>(5 - i) / 6);
    EXPECT_EQ(hit.score, static_cast<float>((5 - i) * (5 - i)));  // the search's own
    EXPECT_FALSE(hit.document.text.empty());
  }
  ASSERT_TRUE(result->reranked.has_value());
  EXPECT_EQ(result->reranked->model, "ce");
  EXPECT_EQ(result->reranked->pairs, 6);
  EXPECT_EQ(result->reranked->truncated, 0);
  EXPECT_TRUE(result->reranked->complete);
  EXPECT_FALSE(result->next.has_value());
  EXPECT_EQ(encoder_.last_rerank.lane, encoder::Lane::kQuery);
  EXPECT_EQ(encoder_.last_rerank.enough, absl::InfiniteFuture());
  // Without it the search is as it was.
  SearchRequest plain = Request();
  plain.reranking.reset();
  EXPECT_THAT(Find("c", plain), ElementsAre("d0", "d1", "d2"));
}

TEST_F(EngineRerankTest, AnExplanationTellsItsTime) {
  SearchRequest request = Request();
  for (const bool verify : {false, true}) {
    request.explain = SearchRequest::Explain{.verify = verify};
    const auto result = engine_->Search("c", request, {});
    ASSERT_TRUE(result.ok()) << result.status();
    std::vector<std::string> stages;
    for (const SearchExplanation::Stage& stage : result->explanation->stages) {
      stages.push_back(stage.name);
      if (stage.name == "rerank") {
        EXPECT_EQ(stage.time, result->rerank_time);
      }
    }
    std::vector<std::string> expected = {"scan", "fetch", "rerank"};
    if (verify) expected.push_back("verify");
    EXPECT_EQ(stages, expected);
  }
}

TEST_F(EngineRerankTest, CandidatesAndWhatIsLeftBehind) {
  SearchRequest request = Request(6);
  request.reranking->candidates = 3;
  EXPECT_THAT(Find("c", request), ElementsAre("d2", "d1", "d0", "d3", "d4", "d5"));
  const auto result = engine_->Search("c", request, {});
  EXPECT_EQ(result->reranked->pairs, 3);
  EXPECT_TRUE(result->reranked->complete);
  EXPECT_FALSE(result->hits[3].rerank_score.has_value());
  // Fewer candidates than top_k, more than top_k.
  request = Request(1);
  request.reranking->candidates = 3;
  EXPECT_THAT(Find("c", request), ElementsAre("d2"));
  // Without text: behind, in the search's order.
  DocumentWrite mute = Vector("mute", std::vector<float>(kDimension, 0));
  Upsert("c", {std::move(mute)});
  request = Request(10);
  EXPECT_THAT(Find("c", request), ElementsAre("d5", "d4", "d3", "d2", "d1", "d0", "mute"));
  EXPECT_TRUE(engine_->Search("c", request, {})->reranked->complete);
}

TEST_F(EngineRerankTest, WhatTheBudgetLeavesKeepsItsOrder) {
  encoder_.rerank_in_time = 2;
  SearchRequest request = Request(6);
  request.reranking->budget = absl::Seconds(5);
  const absl::Time before = absl::Now();
  const auto result = engine_->Search("c", request, {});
  ASSERT_TRUE(result.ok()) << result.status();
  std::vector<std::string> ids;
  for (const SearchHit& hit : result->hits) ids.push_back(hit.document.id);
  EXPECT_THAT(ids, ElementsAre("d1", "d0", "d2", "d3", "d4", "d5"));
  EXPECT_EQ(result->reranked->pairs, 2);
  EXPECT_FALSE(result->reranked->complete);
  EXPECT_GE(encoder_.last_rerank.enough, before + absl::Seconds(5));
  EXPECT_LE(encoder_.last_rerank.enough, absl::Now() + absl::Seconds(5));
}

TEST_F(EngineRerankTest, TheQueryIsTheSearchsTextUnlessSaid) {
  Create("t");
  Put("t", "1", "abc");
  Put("t", "2", "ab");
  SearchRequest request{.query = TextQuery{"abc"}};
  request.reranking.emplace();
  EXPECT_THAT(Find("t", request), ElementsAre("1", "2"));
  EXPECT_EQ(encoder_.last_query, "abc");
  request.query = LexicalQuery{"ab"};
  EXPECT_THAT(Find("t", request), ElementsAre("2"));
  EXPECT_EQ(encoder_.last_query, "ab");
  request.query = HybridQuery{TextQuery{"ab"}, "abc", {}};
  Find("t", request);
  EXPECT_EQ(encoder_.last_query, "ab");
  request.query = HybridQuery{VectorQuery{std::vector<float>(kDimension, 1)}, "abc", {}};
  Find("t", request);
  EXPECT_EQ(encoder_.last_query, "abc");
  request.reranking->query = "other";
  Find("t", request);
  EXPECT_EQ(encoder_.last_query, "other");
}

TEST_F(EngineRerankTest, TextsAreLeftOutOfTheReplyWhereNotAskedFor) {
  SearchRequest request = Request(2);
  request.parts = {.text = false, .metadata = false, .vector = false};
  const auto result = engine_->Search("c", request, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->hits[0].document.id, "d5");
  for (const SearchHit& hit : result->hits) EXPECT_THAT(hit.document.text, IsEmpty());
  // The reply's limit is that of what is returned, not of what was read for it.
  for (int i = 0; i < 20; ++i) {
    DocumentWrite write = Vector(absl::StrCat("large", i), std::vector<float>(kDimension, 9));
    write.document.text = std::string(10'000, 'x');
    Upsert("c", {std::move(write)});
  }
  request = Request(3);
  request.max_bytes = 20'000;
  EXPECT_THAT(Find("c", request), ElementsAre("d5", "d4", "d3"));
  request.top_k = 10;
  EXPECT_TRUE(IsOverBudget(engine_->Search("c", request, {}).status()));
}

TEST_F(EngineRerankTest, InABatchEachSearchIsRerankedByItself) {
  std::vector<SearchRequest> requests = {Request(1), Request(2), Request(1)};
  requests[1].reranking.reset();
  requests[2].reranking->model = "none";
  const auto results = engine_->SearchBatch("c", requests, kNoLimit, {});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0]->hits[0].document.id, "d5");
  EXPECT_EQ((*results)[1]->hits[0].document.id, "d0");
  EXPECT_EQ((*results)[2].status().code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineRerankTest, RefusesWhatCannotBe) {
  SearchRequest request = Request();
  request.reranking->query.clear();
  EXPECT_EQ(FieldOfSearch(request), "rerank.query");
  request.reranking->query = std::string(Limits::kMaxRerankQueryBytes + 1, 'x');
  EXPECT_EQ(FieldOfSearch(request), "rerank.query");
  request.reranking->query = "\xff";
  EXPECT_EQ(FieldOfSearch(request), "rerank.query");
  request = Request();
  request.reranking->candidates = 1001;
  EXPECT_EQ(FieldOfSearch(request), "rerank.candidates");
  request = Request();
  request.reranking->budget = absl::ZeroDuration();
  EXPECT_EQ(FieldOfSearch(request), "rerank.budget");
  request = Request();
  request.group_by = GroupBy{"a"};
  EXPECT_EQ(FieldOfSearch(request), "rerank");
  request = Request();
  request.diversify.emplace();
  EXPECT_EQ(FieldOfSearch(request), "rerank");
  request = Request();
  request.after = SearchPosition{1, 0, 1, 1};
  EXPECT_EQ(FieldOfSearch(request), "page_token");
  request = Request();
  request.reranking->model = "fake";
  EXPECT_EQ(FieldOfSearch(request), "rerank.model");
  encoder_.fail = absl::ResourceExhaustedError("full");
  EXPECT_EQ(engine_->Search("c", Request(), {}).status(), encoder_.fail);
}

TEST_F(EngineRerankTest, WhichModelIsTheOnlyOne) {
  AddReranker("ce@int8", "int8");
  EXPECT_EQ(engine_->Search("c", Request(), {})->reranked->model, "ce");
  SearchRequest named = Request();
  named.reranking->model = "ce@int8";
  EXPECT_EQ(engine_->Search("c", named, {})->reranked->model, "ce@int8");
  AddReranker("other");
  const auto several = engine_->Search("c", Request(), {});
  EXPECT_EQ(FieldOf(several.status()), "rerank.model");
  EXPECT_THAT(std::string(several.status().message()), HasSubstr("ce, other"));
  std::erase_if(encoder_.models, [](const auto& m) { return m.task == encoder::Task::kRerank; });
  const auto none = engine_->Search("c", Request(), {});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("export.py"));
}

TEST_F(EngineRerankTest, TextsByThemselves) {
  const std::vector<std::string> texts = {"abc", "", "xyz", "\xff",
                                          "abcdef and more than it takes"};
  RerankRequest request{.model = "", .query = "abc", .texts = texts};
  auto reranked = engine_->Rerank(request, {});
  ASSERT_TRUE(reranked.ok()) << reranked.status();
  EXPECT_EQ(reranked->model.name, "ce");
  ASSERT_EQ(reranked->results.size(), 5u);
  EXPECT_EQ(reranked->results[0].score, 1);
  EXPECT_EQ(reranked->results[1].score, 0);
  EXPECT_EQ(FieldOf(reranked->results[3].status), "texts[3]");
  EXPECT_TRUE(reranked->results[4].truncated);
  request.truncate = Truncate::kError;
  EXPECT_EQ(FieldOf(engine_->Rerank(request, {})->results[4].status), "texts[4]");
  request = {.model = "fake", .query = "abc", .texts = texts};
  EXPECT_EQ(FieldOf(engine_->Rerank(request, {}).status()), "model");
  request = {.model = "", .query = "", .texts = texts};
  EXPECT_EQ(FieldOf(engine_->Rerank(request, {}).status()), "query");
  request = {.model = "", .query = "x", .texts = {}};
  EXPECT_EQ(FieldOf(engine_->Rerank(request, {}).status()), "texts");
}

TEST_F(EngineRerankTest, ARerankerMakesNoVectors) {
  CollectionSpec spec;
  spec.id = "wrong";
  spec.model = "ce";
  const auto created = engine_->CreateCollection(spec, false);
  EXPECT_EQ(FieldOf(created.status()), "collection.embedding.model");
  EXPECT_THAT(std::string(created.status().message()), HasSubstr("a reranker"));
  const std::vector<std::string> texts = {"x"};
  EXPECT_EQ(FieldOf(engine_->Embed({.model = "ce", .texts = texts}, {}).status()), "model");
  // The only embedding model is found beside it.
  EXPECT_EQ(engine_->Embed({.model = "", .texts = texts}, {})->model.name, "fake");
}

}  // namespace
}  // namespace vecino::engine
