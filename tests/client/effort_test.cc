// How a search was answered, as the client's values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "client/hybrid_conversions.h"
#include "client/recall_conversions.h"
#include "client/search_conversions.h"
#include "vecino/client.h"

namespace vecino::internal {
namespace {

v1::SearchEffort Effort() {
  v1::SearchEffort effort;
  effort.set_effective_nprobe(3);
  effort.set_effective_ef(40);
  effort.set_rows_scanned(int64_t{5} << 32);
  effort.set_rows_rescored(int64_t{6} << 32);
  effort.set_expected_recall(0.875);
  effort.set_exact(true);
  effort.set_shortfall_reason(v1::SearchEffort::SHORTFALL_REASON_CANDIDATES);
  return effort;
}

v1::SearchExplanation Explanation() {
  v1::SearchExplanation explanation;
  v1::ShardPlan* shard = explanation.add_shards();
  shard->set_shard(1);
  shard->set_plan("its tail; 2 segments");
  shard->set_nprobe(3);
  shard->set_nlist(70);
  shard->set_ef(40);
  shard->set_rows_scanned(int64_t{5} << 32);
  shard->set_rows_reranked(int64_t{6} << 32);
  shard->set_rows_rescored(int64_t{7} << 32);
  shard->set_passing_rows(int64_t{8} << 32);
  shard->set_expected_recall(0.75);
  explanation.add_shards()->set_shard(2);
  explanation.set_selectivity(0.125);
  explanation.set_recall_target(0.96875);
  v1::StageTime* stage = explanation.add_stages();
  stage->set_stage("scan");
  stage->mutable_duration()->set_seconds(1);
  stage->mutable_duration()->set_nanos(500'007'000);
  explanation.add_stages()->set_stage("fetch");
  explanation.set_verified_recall(0);  // found nothing, which is not the same as not verified
  return explanation;
}

void ExpectAll(const SearchResponse& response) {
  const SearchEffort& effort = response.effort;
  EXPECT_EQ(effort.effective_nprobe, 3);
  EXPECT_EQ(effort.effective_ef, 40);
  EXPECT_EQ(effort.rows_scanned, int64_t{5} << 32);
  EXPECT_EQ(effort.rows_rescored, int64_t{6} << 32);
  EXPECT_EQ(effort.expected_recall, 0.875);
  EXPECT_TRUE(effort.exact);
  EXPECT_EQ(effort.shortfall_reason, "candidates");

  ASSERT_TRUE(response.explanation.has_value());
  const SearchExplanation& explanation = *response.explanation;
  ASSERT_EQ(explanation.shards.size(), 2u);
  const SearchExplanation::Shard& shard = explanation.shards[0];
  EXPECT_EQ(shard.shard, 1);
  EXPECT_EQ(shard.plan, "its tail; 2 segments");
  EXPECT_EQ(shard.nprobe, 3);
  EXPECT_EQ(shard.nlist, 70);
  EXPECT_EQ(shard.ef, 40);
  EXPECT_EQ(shard.rows_scanned, int64_t{5} << 32);
  EXPECT_EQ(shard.rows_reranked, int64_t{6} << 32);
  EXPECT_EQ(shard.rows_rescored, int64_t{7} << 32);
  EXPECT_EQ(shard.passing_rows, int64_t{8} << 32);
  EXPECT_EQ(shard.expected_recall, 0.75);
  EXPECT_EQ(explanation.shards[1].shard, 2);
  EXPECT_EQ(explanation.selectivity, 0.125);
  EXPECT_EQ(explanation.recall_target, 0.96875);
  ASSERT_EQ(explanation.stages.size(), 2u);
  EXPECT_EQ(explanation.stages[0].stage, "scan");
  EXPECT_EQ(explanation.stages[0].time, std::chrono::microseconds(1'500'007));
  EXPECT_EQ(explanation.stages[1].stage, "fetch");
  ASSERT_TRUE(explanation.verified_recall.has_value());
  EXPECT_EQ(*explanation.verified_recall, 0);
}

TEST(EffortTest, EveryFieldOfASearchIsRead) {
  v1::SearchDocumentsResponse message;
  *message.mutable_effort() = Effort();
  *message.mutable_explanation() = Explanation();
  ExpectAll(FromProto(message));
  message.mutable_explanation()->clear_verified_recall();
  EXPECT_FALSE(FromProto(message).explanation->verified_recall.has_value());
  message.clear_explanation();
  EXPECT_FALSE(FromProto(message).explanation.has_value());
}

TEST(EffortTest, EveryFieldOfAHybridSearchIsRead) {
  v1::HybridSearchDocumentsResponse message;
  *message.mutable_effort() = Effort();
  *message.mutable_explanation() = Explanation();
  ExpectAll(FromProto(message));
  message.clear_explanation();
  EXPECT_FALSE(FromProto(message).explanation.has_value());
}

TEST(EffortTest, EveryShortfallHasAName) {
  const std::vector<std::pair<int, std::string>> names = {
      {v1::SearchEffort::SHORTFALL_REASON_UNSPECIFIED, ""},
      {v1::SearchEffort::SHORTFALL_REASON_NO_MORE_DOCUMENTS, "no_more_documents"},
      {v1::SearchEffort::SHORTFALL_REASON_PARAMETERS, "parameters"},
      {v1::SearchEffort::SHORTFALL_REASON_CANDIDATES, "candidates"}};
  EXPECT_EQ(v1::SearchEffort::ShortfallReason_descriptor()->value_count(),
            static_cast<int>(names.size()));
  v1::SearchEffort effort;
  for (const auto& [reason, name] : names) {
    effort.set_shortfall_reason(static_cast<v1::SearchEffort::ShortfallReason>(reason));
    EXPECT_EQ(FromProto(effort).shortfall_reason, name) << reason;
  }
  // Of a newer server.
  effort.set_shortfall_reason(static_cast<v1::SearchEffort::ShortfallReason>(77));
  EXPECT_EQ(FromProto(effort).shortfall_reason, "unknown");
}

TEST(EffortTest, DiversityOfAHybridSearchIsSent) {
  v1::HybridSearchDocumentsRequest request;
  ASSERT_TRUE(ToProto(HybridQuery{.text = "x"}, {}, &request).ok());
  EXPECT_FALSE(request.has_diversify());
  ASSERT_TRUE(ToProto(HybridQuery{.text = "x"},
                      {.diversify = Diversify{.lambda = 0.0F, .candidates = 50}}, &request)
                  .ok());
  EXPECT_TRUE(request.diversify().has_lambda());
  EXPECT_EQ(request.diversify().lambda(), 0);
  EXPECT_EQ(request.diversify().candidates(), 50);
  request.Clear();
  ASSERT_TRUE(ToProto(HybridQuery{.text = "x"}, {.diversify = Diversify{}}, &request).ok());
  EXPECT_FALSE(request.diversify().has_candidates());
  EXPECT_EQ(
      ToProto(HybridQuery{.text = "x"}, {.group_by = GroupBy{.field = "a"}}, &request).field(),
      "group_by");
}

TEST(EffortTest, ExplainIsSentWhereItIsAskedFor) {
  struct Case {
    SearchOptions options;
    bool explain, verify;
  };
  for (const Case& one : {Case{{}, false, false}, Case{{.explain = true}, true, false},
                          Case{{.verify = true}, true, true}}) {
    v1::SearchDocumentsRequest search;
    ASSERT_TRUE(ToProto(Query::Text("x"), one.options, &search).ok());
    EXPECT_EQ(search.has_explain(), one.explain);
    EXPECT_EQ(search.explain().verify(), one.verify);
    v1::HybridSearchDocumentsRequest hybrid;
    ASSERT_TRUE(ToProto(HybridQuery{.text = "x"}, one.options, &hybrid).ok());
    EXPECT_EQ(hybrid.has_explain(), one.explain);
    EXPECT_EQ(hybrid.explain().verify(), one.verify);
  }
}

}  // namespace
}  // namespace vecino::internal
