// Searches beyond the plain ones: what arrives at the engine, what is refused, what comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "absl/strings/escaping.h"
#include "server/rpc/search_page_token.h"
#include "server/rpc/text.h"
#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

v1::SearchDocumentsRequest TextRequest() {
  v1::SearchDocumentsRequest request;
  request.set_parent("collections/c");
  request.set_text("x");
  return request;
}

class SearchHandlersTest : public HandlersTest {
 protected:
  absl::Status Search(const v1::SearchDocumentsRequest& request) {
    response_.Clear();
    return search_.SearchDocuments(request, &response_, context_);
  }
  template <class Change>
  absl::Status SearchWith(Change change) {
    v1::SearchDocumentsRequest request = TextRequest();
    change(request);
    return Search(request);
  }

  v1::SearchDocumentsResponse response_;
};

TEST_F(SearchHandlersTest, ExpressionsConvert) {
  v1::SearchDocumentsRequest request;
  request.set_parent("collections/c");
  request.set_truncate(v1::TRUNCATE_MODE_ERROR);
  auto* expression = request.mutable_expression();
  expression->add_terms()->set_text("king");
  auto* term = expression->add_terms();
  term->set_document_id("man");
  term->set_weight(-1.5f);
  expression->add_terms()->mutable_vector()->add_values(2);
  expression->set_include_term_documents(true);
  ASSERT_TRUE(Search(request).ok());
  const auto& query = std::get<engine::ExpressionQuery>(engine_.search.query);
  ASSERT_EQ(query.terms.size(), 3u);
  EXPECT_TRUE(query.include_term_documents);
  const auto& text = std::get<engine::TextQuery>(query.terms[0].term);
  EXPECT_EQ(text.text, "king");
  EXPECT_EQ(text.truncate, engine::Truncate::kError);
  EXPECT_EQ(query.terms[0].weight, 1);
  EXPECT_EQ(std::get<engine::DocumentQuery>(query.terms[1].term).id, "man");
  EXPECT_EQ(query.terms[1].weight, -1.5f);
  EXPECT_EQ(std::get<engine::VectorQuery>(query.terms[2].term).vector, std::vector<float>{2});

  expression->add_terms();
  ExpectField(Search(request), "expression.terms[3]", "set text, vector or document_id");
  term = expression->mutable_terms(3);
  term->set_document_id("");
  ExpectField(Search(request), "expression.terms[3].document_id");
  term->mutable_vector()->add_values(NAN);
  ExpectField(Search(request), "expression.terms[3].vector", "nan");
  expression->clear_terms();
  ExpectField(Search(request), "expression.terms", "1 to 100");
  for (int i = 0; i < 101; ++i) expression->add_terms()->set_text("x");
  ExpectField(Search(request), "expression.terms", "101");
}

TEST_F(SearchHandlersTest, ShapesConvert) {
  ASSERT_TRUE(Search(TextRequest()).ok());
  EXPECT_FALSE(engine_.search.min_score.has_value() || engine_.search.group_by.has_value() ||
               engine_.search.diversify.has_value() || engine_.search.after.has_value());
  ASSERT_TRUE(SearchWith([](auto& r) {
                r.set_min_score(0);
                r.mutable_group_by()->set_field("a.b");
                r.mutable_diversify();
              }).ok());
  EXPECT_EQ(engine_.search.min_score, 0);
  EXPECT_EQ(engine_.search.group_by->field, "a.b");
  EXPECT_EQ(engine_.search.group_by->group_size, 1);
  EXPECT_EQ(engine_.search.diversify->lambda, 0.5f);
  EXPECT_EQ(engine_.search.diversify->candidates, 0);
  ASSERT_TRUE(SearchWith([](auto& r) {
                r.mutable_group_by()->set_group_size(7);
                r.mutable_diversify()->set_lambda(0);
                r.mutable_diversify()->set_candidates(70);
              }).ok());
  EXPECT_EQ(engine_.search.group_by->group_size, 7);
  EXPECT_EQ(engine_.search.diversify->lambda, 0);
  EXPECT_EQ(engine_.search.diversify->candidates, 70);
  ExpectField(SearchWith([](auto& r) { r.mutable_diversify()->set_candidates(0); }),
              "diversify.candidates");
}

TEST_F(SearchHandlersTest, GroupsComeWithTheirValues) {
  engine_.search_result.groups = {"text", 2.5, true, engine::GroupValue()};
  for (int i = 0; i < 4; ++i) engine_.search_result.hits.push_back({Stored("a"), 1, i});
  engine_.search_result.hits.push_back({Stored("b"), 1});
  ASSERT_TRUE(Search(TextRequest()).ok());
  EXPECT_EQ(response_.hits(0).group().string_value(), "text");
  EXPECT_EQ(response_.hits(1).group().number_value(), 2.5);
  EXPECT_TRUE(response_.hits(2).group().bool_value());
  EXPECT_FALSE(response_.hits(3).has_group());
  EXPECT_FALSE(response_.hits(4).has_group());
}

TEST_F(SearchHandlersTest, FiltersAndWordsArrive) {
  ASSERT_TRUE(SearchWith([](auto& r) { r.set_filter("a = 1"); }).ok());
  EXPECT_EQ(engine_.search.filter, "a = 1");
  EXPECT_EQ(response_.metric(), v1::METRIC_COSINE);
  engine_.search_result.metric = engine::Metric::kL2;
  engine_.search_result.by_words = true;
  ASSERT_TRUE(SearchWith([](auto& r) { r.mutable_lexical()->set_text("some words"); }).ok());
  EXPECT_EQ(std::get<engine::LexicalQuery>(engine_.search.query).text, "some words");
  EXPECT_EQ(response_.metric(), v1::METRIC_UNSPECIFIED);
  EXPECT_TRUE(response_.higher_is_better());
}

class HybridHandlersTest : public HandlersTest {
 protected:
  template <class Change>
  absl::Status Hybrid(Change change) {
    v1::HybridSearchDocumentsRequest request;
    request.set_parent("collections/c");
    request.set_text("x y");
    change(request);
    response_.Clear();
    return search_.HybridSearchDocuments(request, &response_, context_);
  }
  template <class Change>
  std::string FieldOf(Change change) {
    const absl::Status status = Hybrid(change);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return engine::FieldOf(status);
  }
  const engine::HybridQuery& query() const {
    return std::get<engine::HybridQuery>(engine_.search.query);
  }

  v1::HybridSearchDocumentsResponse response_;
};

TEST_F(HybridHandlersTest, OneTextIsBoth) {
  ASSERT_TRUE(Hybrid([](auto& r) {
                r.set_truncate(v1::TRUNCATE_MODE_ERROR);
                r.set_filter("a = 1");
                r.set_top_k(7);
                r.mutable_read_mask()->add_paths("text");
                r.add_write_tokens()->set_sequence_number(5);
              }).ok());
  const auto& text = std::get<engine::TextQuery>(query().dense);
  EXPECT_EQ(text.text, "x y");
  EXPECT_EQ(text.truncate, engine::Truncate::kError);
  EXPECT_EQ(query().words, "x y");
  EXPECT_EQ(query().fusion.method, engine::Fusion::Method::kRrf);
  EXPECT_EQ(query().fusion.dense_weight, 1);
  EXPECT_EQ(query().fusion.lexical_weight, .6f);
  EXPECT_EQ(query().fusion.rank_constant, 60);
  EXPECT_EQ(query().fusion.candidates, 0);
  EXPECT_EQ(engine_.search.filter, "a = 1");
  EXPECT_EQ(engine_.search.top_k, 7);
  EXPECT_FALSE(engine_.search.parts.metadata);
  ASSERT_EQ(engine_.search.tokens.size(), 1u);
  EXPECT_EQ(engine_.search.tokens[0].sequence, 5u);
}

TEST_F(HybridHandlersTest, PartsMayBeGivenApart) {
  ASSERT_TRUE(Hybrid([](auto& r) {
                r.mutable_vector()->add_values(2);
                r.mutable_fusion()->set_method(v1::Fusion::METHOD_WEIGHTED_SCORES);
                r.mutable_fusion()->set_dense_weight(2);
                r.mutable_fusion()->set_lexical_weight(3);
                r.mutable_fusion()->set_rank_constant(4);
                r.mutable_fusion()->set_candidates(50);
              }).ok());
  EXPECT_EQ(std::get<engine::VectorQuery>(query().dense).vector, std::vector<float>{2});
  EXPECT_EQ(query().words, "x y");
  EXPECT_EQ(query().fusion.method, engine::Fusion::Method::kWeightedScores);
  EXPECT_EQ(query().fusion.dense_weight, 2);
  EXPECT_EQ(query().fusion.lexical_weight, 3);
  EXPECT_EQ(query().fusion.rank_constant, 4);
  EXPECT_EQ(query().fusion.candidates, 50);
  ASSERT_TRUE(Hybrid([](auto& r) { r.set_lexical_text("z"); }).ok());
  EXPECT_EQ(std::get<engine::TextQuery>(query().dense).text, "x y");
  EXPECT_EQ(query().words, "z");
  ASSERT_TRUE(Hybrid([](auto& r) {
                r.clear_text();
                r.set_lexical_text("z");
                r.mutable_vector()->add_values(2);
              }).ok());
  EXPECT_EQ(query().words, "z");
}

TEST_F(HybridHandlersTest, DiversityArrives) {
  ASSERT_TRUE(Hybrid([](auto&) {}).ok());
  EXPECT_FALSE(engine_.search.diversify.has_value());
  ASSERT_TRUE(Hybrid([](auto& r) { r.mutable_diversify(); }).ok());
  ASSERT_TRUE(engine_.search.diversify.has_value());
  EXPECT_EQ(engine_.search.diversify->lambda, .5f);
  EXPECT_EQ(engine_.search.diversify->candidates, 0);
  ASSERT_TRUE(Hybrid([](auto& r) {
                r.mutable_diversify()->set_lambda(0);
                r.mutable_diversify()->set_candidates(70);
              }).ok());
  EXPECT_EQ(engine_.search.diversify->lambda, 0);
  EXPECT_EQ(engine_.search.diversify->candidates, 70);
  EXPECT_EQ(FieldOf([](auto& r) { r.mutable_diversify()->set_candidates(0); }),
            "diversify.candidates");
}

TEST_F(HybridHandlersTest, BadRequestsNameTheField) {
  EXPECT_EQ(FieldOf([](auto& r) { r.clear_text(); }), "text");
  EXPECT_EQ(FieldOf([](auto& r) {
              r.clear_text();
              r.set_lexical_text("z");
            }),
            "text");
  EXPECT_EQ(FieldOf([](auto& r) {
              r.set_lexical_text("z");
              r.mutable_vector()->add_values(2);
            }),
            "text");
  EXPECT_EQ(FieldOf([](auto& r) { r.set_top_k(0); }), "top_k");
  EXPECT_EQ(FieldOf([](auto& r) { r.mutable_fusion()->set_candidates(0); }), "fusion.candidates");
  EXPECT_EQ(
      FieldOf([](auto& r) { r.mutable_fusion()->set_method(static_cast<v1::Fusion::Method>(9)); }),
      "fusion.method");
  EXPECT_EQ(FieldOf([](auto& r) { r.mutable_vector(); }), "vector");
}

TEST_F(HybridHandlersTest, BothScoresComeBack) {
  engine_.search_result.by_words = true;
  engine_.search_result.query_truncated = true;
  engine_.search_result.hits.push_back({Stored("a"), .5f, -1, .25f, 3.f});
  engine_.search_result.hits.push_back({Stored("b"), .125f, -1, std::nullopt, 2.f});
  ASSERT_TRUE(Hybrid([](auto&) {}).ok());
  ASSERT_EQ(response_.hits_size(), 2);
  EXPECT_EQ(response_.hits(0).score(), .5f);
  EXPECT_EQ(response_.hits(0).dense_score(), .25f);
  EXPECT_EQ(response_.hits(0).lexical_score(), 3);
  EXPECT_FALSE(response_.hits(1).has_dense_score());
  EXPECT_THAT(response_.hits(1).document().name(), HasSubstr("/b"));
  EXPECT_TRUE(response_.query_truncated());
}

TEST_F(SearchHandlersTest, PageTokensComeBack) {
  engine_.search_result.next = engine::SearchPosition{-0.125f, 63, 1ull << 60, 9999};
  v1::SearchDocumentsRequest request = TextRequest();
  request.set_min_score(-1);
  ASSERT_TRUE(Search(request).ok());
  const std::string token = response_.next_page_token();
  ASSERT_FALSE(token.empty());
  request.set_page_token(token);
  // What does not change the order may change.
  request.set_top_k(77);
  request.set_truncate(v1::TRUNCATE_MODE_AUTO);  // as when it was not set
  request.mutable_read_mask()->add_paths("id");
  request.add_write_tokens();
  ASSERT_TRUE(Search(request).ok());
  ASSERT_TRUE(engine_.search.after.has_value());
  EXPECT_EQ(engine_.search.after->score, -0.125f);
  EXPECT_EQ(engine_.search.after->shard, 63);
  EXPECT_EQ(engine_.search.after->sequence, 1ull << 60);
  EXPECT_EQ(engine_.search.after->depth, 9999);

  const auto refused = [&](auto change) {
    v1::SearchDocumentsRequest other = request;
    change(other);
    ExpectField(Search(other), "page_token", "repeat the search as it was");
  };
  refused([](auto& r) { r.set_parent("collections/d"); });
  refused([](auto& r) { r.set_text("y"); });
  refused([](auto& r) { r.set_document_id("x"); });
  refused([](auto& r) { r.mutable_vector()->add_values(1); });
  refused([](auto& r) { r.mutable_expression()->add_terms()->set_text("x"); });
  refused([](auto& r) { r.set_min_score(-2); });
  refused([](auto& r) { r.clear_min_score(); });
  refused([](auto& r) { r.set_recall_target(0.5); });
  refused([](auto& r) { r.mutable_parameters()->set_nprobe(3); });
  refused([](auto& r) { r.set_truncate(v1::TRUNCATE_MODE_ERROR); });
  // Any byte altered, anything missing or added.
  for (size_t i = 0; i < token.size(); ++i) {
    refused([&](auto& r) { (*r.mutable_page_token())[i] = token[i] == 'A' ? 'B' : 'A'; });
  }
  refused([&](auto& r) { r.set_page_token(token.substr(1)); });
  refused([&](auto& r) { r.set_page_token(token + "A"); });
  refused([&](auto& r) { r.set_page_token("x"); });
}

TEST_F(SearchHandlersTest, PageTokensAreOfOneQuery) {
  const auto token = [](const v1::SearchDocumentsRequest& request) {
    return MakeSearchPageToken("c", request, {1, 2, 3, 4});
  };
  v1::SearchDocumentsRequest values, bytes;
  for (const float x : {1.0f, 2.0f, 3.0f}) values.mutable_vector()->add_values(x);
  const float same[] = {1, 2, 3};
  bytes.mutable_vector()->set_float32_le(std::string(reinterpret_cast<const char*>(same), 12));
  EXPECT_EQ(token(values), token(bytes));
  v1::SearchDocumentsRequest other = values;
  other.mutable_vector()->set_values(2, std::nextafter(3.0f, 4.0f));
  EXPECT_NE(token(values), token(other));
  other = values;
  other.mutable_vector()->add_values(0);
  EXPECT_NE(token(values), token(other));
  v1::SearchDocumentsRequest expression;
  expression.mutable_expression()->add_terms()->set_text("x");
  other = expression;
  other.mutable_expression()->mutable_terms(0)->set_weight(1);
  EXPECT_NE(token(expression), token(other));
  other = expression;
  other.mutable_expression()->set_include_term_documents(true);
  EXPECT_NE(token(expression), token(other));
}

// --- short calls

// One collection is split into passages.
bool IsShort(std::string_view bytes) {
  FakeEngine engine;
  engine.chunked = "passages";
  engine.filter_at_hand = "known = 1";
  const grpc::Slice slice(bytes.data(), bytes.size());
  return SearchHandlers(&engine, 1 << 20).IsShort(grpc::ByteBuffer(&slice, 1));
}
bool IsShort(const v1::SearchDocumentsRequest& request) {
  return IsShort(request.SerializeAsString());
}

TEST(IsShortTest, AVectorForIdsAndNothingElse) {
  v1::SearchDocumentsRequest plain;
  plain.set_parent("collections/c");
  for (int i = 0; i < 384; ++i) plain.mutable_vector()->add_values(0.5f);
  plain.mutable_read_mask()->add_paths("id");
  EXPECT_TRUE(IsShort(plain));
  plain.set_top_k(100);
  plain.set_truncate(v1::TRUNCATE_MODE_AUTO);
  plain.set_recall_target(0.99);
  EXPECT_TRUE(IsShort(plain));
  const auto with = [&](auto change) {
    v1::SearchDocumentsRequest request = plain;
    change(request);
    return IsShort(request);
  };
  EXPECT_FALSE(with([](auto& r) { r.clear_read_mask(); }));
  EXPECT_FALSE(with([](auto& r) { r.set_text("x"); }));
  EXPECT_FALSE(with([](auto& r) { r.set_document_id("x"); }));
  EXPECT_FALSE(with([](auto& r) { r.mutable_expression()->add_terms()->set_text("x"); }));
  EXPECT_FALSE(with([](auto& r) { r.mutable_lexical()->set_text("x"); }));
  EXPECT_FALSE(with([](auto& r) { r.set_top_k(101); }));
  EXPECT_FALSE(with([](auto& r) { r.set_recall_target(0.999); }));
  EXPECT_FALSE(with([](auto& r) { r.mutable_parameters(); }));
  EXPECT_FALSE(with([](auto& r) { r.add_write_tokens(); }));
  EXPECT_FALSE(with([](auto& r) { r.set_filter("a"); }));
  EXPECT_TRUE(with([](auto& r) { r.set_filter("known = 1"); }));
  EXPECT_FALSE(with([](auto& r) { r.set_filter("known = 1" + std::string(1024, ' ')); }));
  EXPECT_FALSE(with([](auto& r) { r.set_min_score(0); }));
  EXPECT_FALSE(with([](auto& r) { r.mutable_group_by()->set_field("a"); }));
  EXPECT_FALSE(with([](auto& r) { r.mutable_diversify(); }));
  EXPECT_FALSE(with([](auto& r) { r.set_page_token("a"); }));
  EXPECT_FALSE(with([](auto& r) { r.mutable_explain(); }));  // verifying compares all rows
  // A field of a later contract.
  EXPECT_FALSE(IsShort(plain.SerializeAsString() + std::string("\xf8\x3e\x01")));
  // Passages are read from the disk.
  EXPECT_FALSE(with([](auto& r) { r.set_parent("collections/passages"); }));
  // It fails soon.
  EXPECT_TRUE(with([](auto& r) { r.set_parent("passages"); }));
}

// --- batches

class BatchSearchTest : public SearchHandlersTest {
 protected:
  absl::Status Batch(const v1::BatchSearchDocumentsRequest& request, size_t max_bytes = 4 << 20) {
    batch_.Clear();
    SearchHandlers handlers(&engine_, max_bytes);
    return handlers.BatchSearchDocuments(request, &batch_, context_);
  }
  static v1::BatchSearchDocumentsRequest Requests(int count) {
    v1::BatchSearchDocumentsRequest request;
    request.set_parent("collections/c");
    for (int i = 0; i < count; ++i) request.add_requests()->set_text(Concat("t", i));
    return request;
  }

  v1::BatchSearchDocumentsResponse batch_;
};

TEST_F(BatchSearchTest, EachSearchHasItsOwnStatus) {
  v1::BatchSearchDocumentsRequest request = Requests(5);
  request.mutable_requests(1)->set_top_k(0);
  request.mutable_requests(2)->set_parent("collections/c");
  request.mutable_requests(3)->set_parent("collections/other");
  request.mutable_requests(4)->mutable_vector()->add_values(1);
  request.mutable_requests(0)->set_filter("a = 1");
  engine_.batch_result = [&](size_t i) -> absl::StatusOr<engine::SearchResult> {
    if (i == 2) return engine::InvalidField("vector", "has 1 values");
    engine::SearchResult result;
    result.hits.push_back({Stored(Concat("d", i)), 0.5f});
    result.metric = engine::Metric::kL2;
    result.next = engine::SearchPosition{1, 0, 5, 1};
    return result;
  };
  ASSERT_TRUE(Batch(request).ok());
  EXPECT_EQ(engine_.collection, "c");
  ASSERT_EQ(engine_.searches.size(), 3u);
  EXPECT_EQ(std::get<engine::TextQuery>(engine_.searches[1].query).text, "t2");
  EXPECT_EQ(engine_.searches[0].filter, "a = 1");
  ASSERT_EQ(batch_.results_size(), 5);
  for (const auto& [place, id] : {std::pair(0, "d0"), {2, "d1"}}) {
    EXPECT_EQ(batch_.results(place).status().code(), 0);
    EXPECT_EQ(batch_.results(place).response().hits(0).document().id(), id);
    EXPECT_EQ(batch_.results(place).response().metric(), v1::METRIC_L2);
  }
  for (const auto& [place, field] :
       {std::pair(1, "requests[1].top_k"), {3, "requests[3].parent"}, {4, "requests[4].vector"}}) {
    EXPECT_EQ(batch_.results(place).status().code(), 3);
    EXPECT_FALSE(batch_.results(place).has_response());
    EXPECT_EQ(FieldIn(batch_.results(place).status()), field);
  }
  // A page of a search in a batch goes on outside of it.
  v1::SearchDocumentsRequest next = TextRequest();
  next.set_text("t0");
  next.set_filter("a = 1");
  next.set_page_token(batch_.results(0).response().next_page_token());
  EXPECT_TRUE(Search(next).ok());
}

TEST_F(BatchSearchTest, TheCallFailsForItsOwnFaults) {
  ExpectField(Batch(Requests(0)), "requests", "1 to 100");
  ExpectField(Batch(Requests(101)), "requests", "101");
  v1::BatchSearchDocumentsRequest request = Requests(1);
  request.clear_parent();
  ExpectField(Batch(request), "parent");
  engine_.failure = absl::NotFoundError("no such collection");
  EXPECT_EQ(Batch(Requests(1)).code(), absl::StatusCode::kNotFound);
  // Also when no search gets as far as the engine.
  request = Requests(1);
  request.mutable_requests(0)->set_top_k(-1);
  EXPECT_EQ(Batch(request).code(), absl::StatusCode::kNotFound);
}

TEST_F(BatchSearchTest, SearchesShareTheRoomOfTheReply) {
  engine_.batch_result = [](size_t i) -> absl::StatusOr<engine::SearchResult> {
    engine::SearchResult result;
    result.hits.push_back({Stored("a", std::string(i == 2 ? 100 : 2000, 'x')), 0.5f});
    return result;
  };
  ASSERT_TRUE(Batch(Requests(3), 5000).ok());
  EXPECT_LE(engine_.max_bytes, 5000u - 3 * 512);
  EXPECT_TRUE(batch_.results(0).has_response());
  EXPECT_EQ(batch_.results(1).status().code(), 8);
  EXPECT_FALSE(batch_.results(1).has_response());
  EXPECT_THAT(batch_.results(1).status().message(), HasSubstr("send fewer searches"));
  EXPECT_EQ(batch_.results(1).status().details_size(), 0);  // no RetryInfo
  EXPECT_TRUE(batch_.results(2).has_response());
  EXPECT_LE(batch_.ByteSizeLong(), 5000u);
  // What the engine itself says of the limit gets the advice, too.
  engine_.batch_result = [](size_t) -> absl::StatusOr<engine::SearchResult> {
    absl::Status status = absl::ResourceExhaustedError("5 fitted");
    status.SetPayload(std::string(engine::kOverBudgetPayload), absl::Cord());
    return status;
  };
  ASSERT_TRUE(Batch(Requests(1)).ok());
  EXPECT_THAT(batch_.results(0).status().message(), HasSubstr("5 fitted"));
  EXPECT_THAT(batch_.results(0).status().message(), HasSubstr("send fewer searches"));
}

TEST_F(SearchHandlersTest, RerankingConverts) {
  v1::SearchDocumentsRequest request = TextRequest();
  ASSERT_TRUE(Search(request).ok());
  EXPECT_FALSE(engine_.search.reranking.has_value());
  v1::Rerank* rerank = request.mutable_rerank();
  ASSERT_TRUE(Search(request).ok());
  ASSERT_TRUE(engine_.search.reranking.has_value());
  EXPECT_EQ(engine_.search.reranking->model, "");
  EXPECT_EQ(engine_.search.reranking->candidates, 0);
  EXPECT_EQ(engine_.search.reranking->budget, absl::InfiniteDuration());
  rerank->set_model("models/ce@int8");
  rerank->set_candidates(70);
  rerank->mutable_budget()->set_nanos(1'500'000);
  rerank->set_query("other");
  ASSERT_TRUE(Search(request).ok());
  EXPECT_EQ(engine_.search.reranking->model, "ce@int8");
  EXPECT_EQ(engine_.search.reranking->candidates, 70);
  EXPECT_EQ(engine_.search.reranking->budget, absl::Microseconds(1500));
  EXPECT_EQ(engine_.search.reranking->query, "other");
  rerank->set_model("ce");
  ExpectField(Search(request), "rerank.model");
  rerank->clear_model();
  rerank->set_candidates(0);
  ExpectField(Search(request), "rerank.candidates", "1 to 1000");
  rerank->clear_candidates();
  for (const auto& [seconds, nanos] : {std::pair{0, 0}, {-1, 0}, {0, -1}, {1, 1'000'000'000}}) {
    rerank->mutable_budget()->set_seconds(seconds);
    rerank->mutable_budget()->set_nanos(nanos);
    ExpectField(Search(request), "rerank.budget", "more than 0");
  }
}

TEST_F(SearchHandlersTest, WhatRerankingDidIsSaid) {
  engine::SearchHit scored, other;
  scored.document = Stored("a");
  scored.score = 0.25f;
  scored.rerank_score = 0.75f;
  other.document = Stored("b");
  engine_.search_result.hits = {scored, other};
  engine_.search_result.rerank_time = absl::Milliseconds(3);
  engine_.search_result.reranked = engine::Reranked{"ce", 1, 1, false};
  v1::SearchDocumentsRequest request = TextRequest();
  request.mutable_rerank();
  ASSERT_TRUE(Search(request).ok());
  EXPECT_EQ(response_.hits(0).rerank_score(), 0.75f);
  EXPECT_EQ(response_.hits(0).score(), 0.25f);
  EXPECT_FALSE(response_.hits(1).has_rerank_score());
  EXPECT_EQ(response_.timings().rerank().nanos(), 3'000'000);
  EXPECT_EQ(response_.reranked().model(), "models/ce");
  EXPECT_EQ(response_.reranked().pairs(), 1);
  EXPECT_EQ(response_.reranked().truncated_pairs(), 1);
  EXPECT_FALSE(response_.reranked().complete());

  v1::HybridSearchDocumentsRequest hybrid;
  hybrid.set_parent("collections/c");
  hybrid.set_text("x");
  hybrid.mutable_rerank()->set_candidates(5);
  v1::HybridSearchDocumentsResponse response;
  ASSERT_TRUE(search_.HybridSearchDocuments(hybrid, &response, context_).ok());
  EXPECT_EQ(engine_.search.reranking->candidates, 5);
  EXPECT_EQ(response.hits(0).rerank_score(), 0.75f);
  EXPECT_FALSE(response.hits(1).has_rerank_score());
  EXPECT_EQ(response.reranked().model(), "models/ce");
  EXPECT_EQ(response.timings().rerank().nanos(), 3'000'000);
}

TEST_F(SearchHandlersTest, RerankTextsConverts) {
  encoder::ModelInfo info;
  info.name = "ce";
  info.task = encoder::Task::kRerank;
  info.activation = "sigmoid";
  engine_.models = {info};
  engine_.rerankings = {{.score = 0.5f, .token_count = 9}, {.score = 0.25f, .truncated = true}};
  engine_.timings.compute = absl::Milliseconds(2);
  v1::RerankTextsRequest request;
  request.set_model("models/ce");
  request.set_query("q");
  request.add_texts("a");
  request.add_texts("");
  request.set_truncate(v1::TRUNCATE_MODE_ERROR);
  v1::RerankTextsResponse response;
  ASSERT_TRUE(embedding_.RerankTexts(request, &response, context_).ok());
  EXPECT_EQ(engine_.model, "ce");
  EXPECT_EQ(engine_.query, "q");
  EXPECT_EQ(engine_.texts, (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(engine_.truncate, engine::Truncate::kError);
  ASSERT_EQ(response.results_size(), 2);
  EXPECT_EQ(response.results(0).score(), 0.5f);
  EXPECT_EQ(response.results(0).token_count(), 9);
  EXPECT_TRUE(response.results(1).truncated());
  EXPECT_EQ(response.model(), "models/ce");
  EXPECT_EQ(response.timings().compute().nanos(), 2'000'000);

  engine_.rerankings[1].status = engine::InvalidField("texts[1]", "is not UTF-8");
  ExpectField(embedding_.RerankTexts(request, &response, context_), "texts[1]");
  request.clear_texts();
  ExpectField(embedding_.RerankTexts(request, &response, context_), "texts");
  request.add_texts("a");
  request.set_model("nonsense");
  ExpectField(embedding_.RerankTexts(request, &response, context_), "model");

  v1::ListModelsResponse models;
  ASSERT_TRUE(embedding_.ListModels({}, &models, context_).ok());
  EXPECT_EQ(models.models(0).task(), v1::MODEL_TASK_RERANK);
  EXPECT_EQ(models.models(0).activation(), "sigmoid");
}

}  // namespace
}  // namespace vecino::rpc
