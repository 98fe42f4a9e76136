// Searches for sums, and many searches in one call, through the engine's door.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "server/engine/query_expression.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Term = ExpressionQuery::Term;

std::vector<float> Axis(int i, float scale = 1) {
  std::vector<float> v(8);
  v[i] = scale;
  return v;
}

std::vector<float> Sum(std::vector<float> a, const std::vector<float>& b, float weight = 1) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += weight * b[i];
  return a;
}

TEST_F(EngineTest, AnExpressionIsTheSumOfItsNormalisedTerms) {
  Create("c", 2);
  Upsert("c", {Vector("a", Axis(0)), Vector("b", Axis(1)), Vector("ab", Sum(Axis(0), Axis(1))),
               Vector("a-b", Sum(Axis(0), Axis(1), -1)), Vector("c", Axis(2))});
  const auto find = [&](std::vector<Term> terms) {
    return Find("c", {.query = ExpressionQuery{std::move(terms)}, .top_k = 1});
  };
  EXPECT_THAT(find({{VectorQuery{Axis(0, 5)}}, {VectorQuery{Axis(1)}}}), ElementsAre("ab"));
  EXPECT_THAT(find({{VectorQuery{Axis(0)}}, {VectorQuery{Axis(1, 9)}, -1}}), ElementsAre("a-b"));
  EXPECT_THAT(find({{VectorQuery{Axis(0)}, 0.1f}, {VectorQuery{Axis(1)}, 10}}), ElementsAre("b"));
  // Its score is that of the sum, of length 1.
  const auto result = engine_->Search(
      "c", {.query = ExpressionQuery{{{VectorQuery{Axis(0)}, 3}, {VectorQuery{Axis(1)}, 4}}}}, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->hits[0].document.id, "ab");
  EXPECT_NEAR(result->hits[0].score, 7 / (5 * std::sqrt(2)), 1e-6);
  EXPECT_NEAR(result->hits[1].score, .8, 1e-6);
}

TEST_F(EngineTest, WithoutCosineTermsAreAsTheyAre) {
  for (const Metric metric : {Metric::kDot, Metric::kL2}) {
    const std::string name = metric == Metric::kDot ? "dot" : "l2";
    Create(name, 1, metric, "");
    Upsert(name, {Vector("a", Sum(Axis(0, 3), Axis(1, -2)))});
    const auto result = engine_->Search(
        name, {.query = ExpressionQuery{{{VectorQuery{Axis(0, 3)}}, {VectorQuery{Axis(1)}, -2}}}},
        {});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->hits[0].score, metric == Metric::kDot ? 13 : 0);
    // Nothing is wrong with the zero vector there.
    EXPECT_TRUE(engine_
                    ->Search(name,
                             {.query = ExpressionQuery{{{VectorQuery{Axis(0)}},
                                                        {VectorQuery{Axis(0)}, -1}}}},
                             {})
                    .ok());
  }
}

TEST_F(EngineTest, TextsOfAnExpressionAreEmbeddedInOneCall) {
  Create("c", 2);
  for (const char* id : {"king", "man", "woman", "other"}) Put("c", id, id);
  std::atomic<int> calls = 0;
  encoder_.before_embed = [&] { ++calls; };
  const auto result = engine_->Search(
      "c",
      {.query =
           ExpressionQuery{{{TextQuery{"king"}}, {TextQuery{"man"}, -1}, {TextQuery{"woman"}}}}},
      {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(encoder_.last_lane, encoder::Lane::kQuery);
  EXPECT_EQ(result->query_token_count, 12);
  EXPECT_FALSE(result->query_truncated);
  EXPECT_EQ(result->hits.size(), 4u);  // texts name no documents
  const auto cut = engine_->Search(
      "c", {.query = ExpressionQuery{{{TextQuery{"king"}}, {TextQuery{std::string(20, 'x')}}}}},
      {});
  EXPECT_TRUE(cut->query_truncated);
}

TEST_F(EngineTest, DocumentsOfAnExpressionAreLeftOut) {
  Create("c", 3);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 30; ++i) writes.push_back(Text(std::to_string(i), "t" + std::to_string(i)));
  Upsert("c", writes);
  ExpressionQuery query{{{DocumentQuery{"1"}},
                         {DocumentQuery{"2"}, -0.5f},
                         {DocumentQuery{"3"}},
                         {DocumentQuery{"1"}}}};
  for (const bool heads : {true, false}) {
    SearchRequest request{
        .query = query, .top_k = 27, .parts = {.text = !heads, .metadata = false}};
    const std::vector<std::string> found = Find("c", request);
    EXPECT_EQ(found.size(), 27u);  // all the others
    for (const char* id : {"1", "2", "3"}) EXPECT_THAT(found, Not(testing::Contains(id)));
    request.top_k = 5;
    EXPECT_EQ(Find("c", request).size(), 5u);
    std::get<ExpressionQuery>(request.query).include_term_documents = true;
    request.top_k = 30;
    EXPECT_EQ(Find("c", request).size(), 30u);
    EXPECT_EQ(Find("c", request)[0], "1");
  }
}

TEST_F(EngineTest, ExpressionsSayWhatIsWrong) {
  Create("c");
  Put("c", "a", "text");
  const auto status = [&](std::vector<Term> terms) {
    return engine_->Search("c", {.query = ExpressionQuery{std::move(terms)}}, {}).status();
  };
  const auto field = [&](std::vector<Term> terms) {
    const absl::Status got = status(std::move(terms));
    EXPECT_EQ(got.code(), absl::StatusCode::kInvalidArgument) << got;
    return FieldOf(got);
  };
  const Term good{TextQuery{"x"}};
  EXPECT_EQ(field({}), "expression.terms");
  EXPECT_EQ(field(std::vector<Term>(101, good)), "expression.terms");
  EXPECT_EQ(field({good, {TextQuery{""}}}), "expression.terms[1].text");
  EXPECT_EQ(field({good, {TextQuery{"\xff"}}}), "expression.terms[1].text");
  EXPECT_EQ(field({good, {TextQuery{"much longer than the window", Truncate::kError}}}),
            "expression.terms[1].text");
  EXPECT_EQ(field({{VectorQuery{{1, 2}}}}), "expression.terms[0].vector");
  EXPECT_EQ(field({{VectorQuery{std::vector<float>(8)}}}), "expression.terms[0].vector");
  EXPECT_EQ(field({good, good, {DocumentQuery{""}}}), "expression.terms[2].document_id");
  for (const float weight : {0.0f, NAN, INFINITY, 2e6f, -2e6f}) {
    EXPECT_EQ(field({good, {TextQuery{"y"}, weight}}), "expression.terms[1].weight") << weight;
  }
  const absl::Status missing = status({good, {DocumentQuery{"a"}}, {DocumentQuery{"nobody"}}});
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("expression.terms[2].document_id"));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("`nobody`"));
  const absl::Status zero = status({{TextQuery{"x"}, 2}, {TextQuery{"x"}, -2}});
  EXPECT_EQ(zero.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(zero), "expression");
  EXPECT_THAT(std::string(zero.message()), HasSubstr("sum of zero"));
  // Rounding alone is no direction either.
  std::vector<float> nearly = Axis(0);
  nearly[1] = 1e-6f;
  EXPECT_EQ(field({{VectorQuery{Axis(0)}}, {VectorQuery{nearly}, -1}}), "expression");
  Create("plain", 1, Metric::kCosine, "");
  EXPECT_EQ(engine_->Search("plain", {.query = ExpressionQuery{{good}}}, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(EngineTest, ABatchAnswersEachSearch) {
  Create("c", 2);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 30; ++i) writes.push_back(Text(std::to_string(i), "t" + std::to_string(i)));
  Upsert("c", writes);
  std::atomic<int> calls = 0;
  encoder_.before_embed = [&] { ++calls; };
  const std::vector<SearchRequest> requests = {
      {.query = TextQuery{"t7"}, .top_k = 3},
      {.query = VectorQuery{{1, 2}}},
      {.query = ExpressionQuery{{{TextQuery{"t8"}}, {TextQuery{"t9"}}}}, .top_k = 2},
      {.query = DocumentQuery{"nobody"}},
      {.query = DocumentQuery{"5"}, .top_k = 4},
      {.query = TextQuery{""}},
      {.query = TextQuery{"t10"}, .top_k = 1},
      {.query = TextQuery{"much longer than the window", Truncate::kError}},
      {.query = TextQuery{"t10"}, .tokens = {{9, 0}}}};
  const auto results = engine_->SearchBatch("c", requests, kNoLimit, {});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(calls, 2);  // one for each way to truncate
  ASSERT_EQ(results->size(), requests.size());
  for (const size_t i : {0, 2, 4, 6}) {
    ASSERT_TRUE((*results)[i].ok()) << (*results)[i].status();
    std::vector<std::string> ids;
    for (const SearchHit& hit : (*results)[i]->hits) ids.push_back(hit.document.id);
    EXPECT_EQ(ids, Find("c", requests[i])) << i;
  }
  EXPECT_EQ((*results)[0]->hits[0].document.id, "7");
  EXPECT_EQ((*results)[6]->query_token_count, 3);
  EXPECT_EQ(FieldOf((*results)[1].status()), "vector");
  EXPECT_EQ((*results)[3].status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FieldOf((*results)[5].status()), "text");
  EXPECT_EQ(FieldOf((*results)[7].status()), "text");
  EXPECT_EQ(FieldOf((*results)[8].status()), "write_tokens[0].shard");
}

TEST_F(EngineTest, ABatchFailsAsAWholeForItsOwnFaults) {
  Create("c");
  EXPECT_EQ(FieldOf(engine_->SearchBatch("c", {}, kNoLimit, {}).status()), "requests");
  const std::vector<SearchRequest> many(101, {.query = TextQuery{"a"}});
  EXPECT_EQ(FieldOf(engine_->SearchBatch("c", many, kNoLimit, {}).status()), "requests");
  const std::vector<SearchRequest> wordy(
      11, {.query = ExpressionQuery{std::vector<Term>(100, Term{TextQuery{"a"}})}});
  EXPECT_EQ(FieldOf(engine_->SearchBatch("c", wordy, kNoLimit, {}).status()), "requests");
  const std::vector<SearchRequest> one = {{.query = TextQuery{"a"}}};
  EXPECT_EQ(engine_->SearchBatch("nobody", one, kNoLimit, {}).status().code(),
            absl::StatusCode::kNotFound);
  encoder_.fail = absl::ResourceExhaustedError("the queue is full");
  EXPECT_EQ(engine_->SearchBatch("c", one, kNoLimit, {}).status().code(),
            absl::StatusCode::kResourceExhausted);
  encoder_.fail = absl::OkStatus();
  CallContext late;
  late.deadline = absl::Now() - absl::Seconds(1);
  EXPECT_EQ(engine_->SearchBatch("c", one, kNoLimit, late).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  // Without a model, searches for vectors go on.
  Create("plain", 1, Metric::kCosine, "");
  const auto mixed = engine_->SearchBatch(
      "plain",
      std::vector<SearchRequest>{{.query = TextQuery{"a"}}, {.query = VectorQuery{Axis(0)}}},
      kNoLimit, {});
  ASSERT_TRUE(mixed.ok()) << mixed.status();
  EXPECT_EQ((*mixed)[0].status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE((*mixed)[1].ok());
}

TEST_F(EngineTest, ABatchSharesTheRoomOfOneReply) {
  Create("c", 1, Metric::kL2, "");
  std::vector<DocumentWrite> writes = {Vector("a", Axis(0)), Vector("b", Axis(1))};
  writes[0].document.text = std::string(600, 'a');
  writes[1].document.text = std::string(300, 'b');
  Upsert("c", writes);
  const SearchRequest a{.query = VectorQuery{Axis(0)}, .top_k = 1},
      b{.query = VectorQuery{Axis(1)}, .top_k = 1};
  const auto results = engine_->SearchBatch("c", std::vector<SearchRequest>{a, a, b, b}, 1000, {});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_TRUE((*results)[0].ok());
  EXPECT_TRUE(IsOverBudget((*results)[1].status())) << (*results)[1].status();
  EXPECT_TRUE((*results)[2].ok());  // a smaller one fits yet
  EXPECT_TRUE(IsOverBudget((*results)[3].status()));
}

TEST(QueryExpressionTest, SumsInDouble) {
  // In floats the third term would be lost beside the first.
  const std::vector<std::vector<float>> vectors = {{1e6f}, {1e6f}, {0.5f}};
  const std::vector<float> weights = {1e6f, -1e6f, 1};
  const auto sum = SumTerms(Metric::kDot, 1, weights, vectors);
  ASSERT_TRUE(sum.ok());
  EXPECT_THAT(*sum, ElementsAre(0.5f));
}

}  // namespace
}  // namespace vecino::engine
