// What callers are told of how a search was answered: every field, by every way to search.
#include "server/rpc/effort_conversions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/message.h"
#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using engine::Shortfall;

// Fields that are at their default, by name: none, so that a new field is not forgotten here.
std::vector<std::string> NotSet(const google::protobuf::Message& message) {
  std::vector<const google::protobuf::FieldDescriptor*> set;
  message.GetReflection()->ListFields(message, &set);
  std::vector<std::string> missing;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const auto* field = message.GetDescriptor()->field(i);
    if (std::find(set.begin(), set.end(), field) == set.end()) missing.push_back(field->name());
  }
  return missing;
}

engine::SearchEffort Effort() {
  return {.nprobe = 3,
          .ef = 40,
          .rows_scanned = int64_t{5} << 32,
          .rows_rescored = int64_t{6} << 32,
          .expected_recall = 0.875,
          .exact = true,
          .shortfall = Shortfall::kParameters};
}

engine::SearchExplanation Explanation() {
  engine::SearchExplanation explanation;
  explanation.shards = {{.shard = 1,
                         .plan = "its tail; 2 segments",
                         .nprobe = 3,
                         .nlist = 70,
                         .ef = 40,
                         .rows_scanned = int64_t{5} << 32,
                         .rows_reranked = int64_t{6} << 32,
                         .rows_rescored = int64_t{7} << 32,
                         .passing_rows = int64_t{8} << 32,
                         .expected_recall = 0.75},
                        {.shard = 2, .plan = "other"}};
  explanation.selectivity = 0.125;
  explanation.recall_target = 0.96875;
  explanation.stages = {{"scan", absl::Microseconds(1'500'007)}, {"fetch", absl::Nanoseconds(30)}};
  explanation.verified_recall = 0.0;  // found nothing, which is not the same as not verified
  return explanation;
}

void ExpectEffort(const v1::SearchEffort& effort) {
  EXPECT_THAT(NotSet(effort), testing::IsEmpty());
  EXPECT_EQ(effort.effective_nprobe(), 3);
  EXPECT_EQ(effort.effective_ef(), 40);
  EXPECT_EQ(effort.rows_scanned(), int64_t{5} << 32);
  EXPECT_EQ(effort.rows_rescored(), int64_t{6} << 32);
  EXPECT_EQ(effort.expected_recall(), 0.875);
  EXPECT_TRUE(effort.exact());
  EXPECT_EQ(effort.shortfall_reason(), v1::SearchEffort::SHORTFALL_REASON_PARAMETERS);
}

void ExpectExplanation(const v1::SearchExplanation& explanation) {
  EXPECT_THAT(NotSet(explanation), testing::IsEmpty());
  ASSERT_EQ(explanation.shards_size(), 2);
  const v1::ShardPlan& shard = explanation.shards(0);
  EXPECT_THAT(NotSet(shard), testing::IsEmpty());
  EXPECT_EQ(shard.shard(), 1);
  EXPECT_EQ(shard.plan(), "its tail; 2 segments");
  EXPECT_EQ(shard.nprobe(), 3);
  EXPECT_EQ(shard.nlist(), 70);
  EXPECT_EQ(shard.ef(), 40);
  EXPECT_EQ(shard.rows_scanned(), int64_t{5} << 32);
  EXPECT_EQ(shard.rows_reranked(), int64_t{6} << 32);
  EXPECT_EQ(shard.rows_rescored(), int64_t{7} << 32);
  EXPECT_EQ(shard.passing_rows(), int64_t{8} << 32);
  EXPECT_EQ(shard.expected_recall(), 0.75);
  EXPECT_EQ(explanation.shards(1).plan(), "other");
  EXPECT_EQ(explanation.selectivity(), 0.125);
  EXPECT_EQ(explanation.recall_target(), 0.96875);
  ASSERT_EQ(explanation.stages_size(), 2);
  EXPECT_EQ(explanation.stages(0).stage(), "scan");
  EXPECT_EQ(explanation.stages(0).duration().seconds(), 1);
  EXPECT_EQ(explanation.stages(0).duration().nanos(), 500'007'000);
  EXPECT_EQ(explanation.stages(1).stage(), "fetch");
  EXPECT_EQ(explanation.stages(1).duration().nanos(), 30);
  EXPECT_EQ(explanation.verified_recall(), 0);
}

class EffortHandlersTest : public HandlersTest {
 protected:
  EffortHandlersTest() {
    engine_.search_result.effort = Effort();
    engine_.search_result.explanation = Explanation();
  }
  static v1::SearchDocumentsRequest Request() {
    v1::SearchDocumentsRequest request;
    request.set_parent("collections/c");
    request.set_text("x");
    return request;
  }
};

TEST_F(EffortHandlersTest, ASearchTellsAllOfIt) {
  v1::SearchDocumentsResponse response;
  ASSERT_TRUE(search_.SearchDocuments(Request(), &response, context_).ok());
  ExpectEffort(response.effort());
  ExpectExplanation(response.explanation());
}

TEST_F(EffortHandlersTest, AHybridSearchTellsAllOfIt) {
  v1::HybridSearchDocumentsRequest request;
  request.set_parent("collections/c");
  request.set_text("x");
  v1::HybridSearchDocumentsResponse response;
  ASSERT_TRUE(search_.HybridSearchDocuments(request, &response, context_).ok());
  EXPECT_FALSE(engine_.search.explain.has_value());
  ExpectEffort(response.effort());
  ExpectExplanation(response.explanation());
  request.mutable_explain()->set_verify(true);
  ASSERT_TRUE(search_.HybridSearchDocuments(request, &response, context_).ok());
  ASSERT_TRUE(engine_.search.explain.has_value());
  EXPECT_TRUE(engine_.search.explain->verify);
}

TEST_F(EffortHandlersTest, EachSearchOfABatchTellsItsOwn) {
  v1::BatchSearchDocumentsRequest request;
  request.set_parent("collections/c");
  for (int i = 0; i < 2; ++i) request.add_requests()->set_text("x");
  request.mutable_requests(1)->mutable_explain();
  engine_.batch_result = [&](size_t i) {
    engine::SearchResult result;
    if (i == 1) result = engine_.search_result;
    return result;
  };
  v1::BatchSearchDocumentsResponse response;
  ASSERT_TRUE(search_.BatchSearchDocuments(request, &response, context_).ok());
  ASSERT_EQ(engine_.searches.size(), 2u);
  EXPECT_FALSE(engine_.searches[0].explain.has_value());
  ASSERT_TRUE(engine_.searches[1].explain.has_value());
  EXPECT_FALSE(engine_.searches[1].explain->verify);
  ASSERT_EQ(response.results_size(), 2);
  EXPECT_EQ(response.results(0).response().effort().effective_nprobe(), 0);
  EXPECT_FALSE(response.results(0).response().has_explanation());
  ExpectEffort(response.results(1).response().effort());
  ExpectExplanation(response.results(1).response().explanation());
}

TEST_F(EffortHandlersTest, ExplainIsAskedForAndToldOnlyThen) {
  v1::SearchDocumentsRequest request = Request();
  v1::SearchDocumentsResponse response;
  engine_.search_result.explanation.reset();
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_FALSE(engine_.search.explain.has_value());
  EXPECT_TRUE(response.has_effort());
  EXPECT_FALSE(response.has_explanation());

  engine_.search_result.explanation = engine::SearchExplanation();
  request.mutable_explain();
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  ASSERT_TRUE(engine_.search.explain.has_value());
  EXPECT_FALSE(engine_.search.explain->verify);
  ASSERT_TRUE(response.has_explanation());
  EXPECT_FALSE(response.explanation().has_verified_recall());
  EXPECT_EQ(response.explanation().selectivity(), 1);

  request.mutable_explain()->set_verify(true);
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_TRUE(engine_.search.explain->verify);
}

TEST(EffortConversionsTest, EveryShortfallHasItsReason) {
  using v1::SearchEffort;
  const std::vector<std::pair<Shortfall, SearchEffort::ShortfallReason>> reasons = {
      {Shortfall::kNone, SearchEffort::SHORTFALL_REASON_UNSPECIFIED},
      {Shortfall::kNoMoreDocuments, SearchEffort::SHORTFALL_REASON_NO_MORE_DOCUMENTS},
      {Shortfall::kParameters, SearchEffort::SHORTFALL_REASON_PARAMETERS},
      {Shortfall::kCandidates, SearchEffort::SHORTFALL_REASON_CANDIDATES}};
  // The contract has no other.
  EXPECT_EQ(SearchEffort::ShortfallReason_descriptor()->value_count(),
            static_cast<int>(reasons.size()));
  for (const auto& [shortfall, reason] : reasons) {
    engine::SearchEffort effort;
    effort.shortfall = shortfall;
    SearchEffort out;
    WriteEffort(effort, &out);
    EXPECT_EQ(out.shortfall_reason(), reason) << SearchEffort::ShortfallReason_Name(reason);
    EXPECT_EQ(out.expected_recall(), 1);
    EXPECT_TRUE(out.exact());
  }
}

}  // namespace
}  // namespace vecino::rpc
