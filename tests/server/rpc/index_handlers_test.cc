// Index policies, figures and operations, as callers see them.
#include <limits>

#include "server/rpc/index_conversions.h"
#include "tests/server/rpc/handlers_fixture.h"
#include "vecino/v1/index_operation.pb.h"

namespace vecino::rpc {
namespace {

using engine::IndexKind;
using engine::Operation;
using testing::ElementsAre;

engine::Operation::Info Running(const std::string& id) {
  Operation::Info info;
  info.id = id;
  info.collection = "c";
  info.type = Operation::Type::kRetrain;
  info.create_time = absl::FromUnixSeconds(1000);
  info.end_time = absl::InfiniteFuture();
  info.parts = {{.shard = 0, .stage = "training", .rows_done = 3, .rows_total = 9},
                {.shard = 1, .stage = "done", .done = true}};
  return info;
}

v1::IndexOperationMetadata MetadataOf(const google::longrunning::Operation& operation) {
  v1::IndexOperationMetadata metadata;
  EXPECT_TRUE(operation.metadata().UnpackTo(&metadata));
  return metadata;
}

TEST(IndexPolicyTest, EveryKindGoesThereAndBack) {
  for (int kind = 1; kind <= v1::IndexPolicy::Kind_MAX; ++kind) {
    v1::IndexPolicy policy;
    policy.set_kind(static_cast<v1::IndexPolicy::Kind>(kind));
    const auto spec = ReadIndexPolicy(policy);
    ASSERT_TRUE(spec.ok()) << kind;
    v1::IndexPolicy back;
    WriteIndexPolicy(*spec, &back);
    EXPECT_EQ(back.kind(), kind);
  }
  EXPECT_EQ(ReadIndexPolicy({})->kind, IndexKind::kAuto);
  EXPECT_EQ(ReadIndexPolicy({})->recall_target, 0.95);
}

TEST(IndexPolicyTest, ParametersGoThereAndBack) {
  v1::IndexPolicy policy;
  policy.set_kind(v1::IndexPolicy::KIND_AUTO);
  policy.set_recall_target(0.9);
  auto* parameters = policy.mutable_parameters();
  parameters->set_nlist(1);
  parameters->set_nprobe(2);
  parameters->set_pq_m(3);
  parameters->set_pq_bits(4);
  parameters->set_hnsw_m(5);
  parameters->set_ef_construction(6);
  parameters->set_ef_search(7);
  parameters->set_lsh_bits(-8);  // the engine refuses it
  parameters->set_graph(false);
  v1::IndexPolicy back;
  WriteIndexPolicy(*ReadIndexPolicy(policy), &back);
  EXPECT_EQ(back.SerializeAsString(), policy.SerializeAsString());
}

TEST_F(HandlersTest, SearchEffort) {
  v1::SearchDocumentsRequest request;
  v1::SearchDocumentsResponse response;
  request.set_parent("collections/c");
  request.set_document_id("d");
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_EQ(engine_.search.recall_target, 0);
  EXPECT_FALSE(engine_.search.exact);
  request.set_recall_target(0.99);
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_EQ(engine_.search.recall_target, 0.99);
  request.set_recall_target(0);
  ExpectField(search_.SearchDocuments(request, &response, context_), "recall_target", "is 0");
  request.mutable_parameters()->set_nprobe(5);
  request.mutable_parameters()->set_ef_search(6);
  request.mutable_parameters()->set_rerank(7);
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_EQ(engine_.search.nprobe, 5);
  EXPECT_EQ(engine_.search.ef_search, 6);
  EXPECT_EQ(engine_.search.rerank, 7);
  EXPECT_EQ(engine_.search.recall_target, 0);
  request.mutable_parameters()->Clear();
  request.mutable_parameters()->set_exact(true);
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_TRUE(engine_.search.exact);
}

TEST_F(HandlersTest, StatsTellSegmentsMemoryAndGeneration) {
  engine::ShardStats shard;
  shard.segments = 1;
  shard.deleted_rows = 4;
  shard.tail_bytes = 5;
  shard.segment_bytes = 100;
  shard.code_bytes = 10;
  shard.rounded_bytes = 20;
  shard.vector_bytes = 30;
  shard.label_bytes = 40;
  shard.mapped_bytes = 90;
  shard.segment_list = {{.kind = "IVF+GRAPH", .rows = 50, .dead = 4, .generation = 2}};
  shard.generation = 2;
  shard.generation_rows = 45;
  shard.calibrated_rows = 48;
  shard.tuned_at = absl::FromUnixSeconds(49);
  shard.tuned_points = 20;
  shard.nlist = 7;
  shard.nprobe = 3;
  shard.imbalance = 1.5;
  shard.trained_at = absl::FromUnixSeconds(1234);
  shard.last_choice = "trained 7 lists: grown";
  shard.drift = {{.name = "growth", .value = 2.6, .limit = 2.5, .due = true}};
  engine::ShardStats other = shard;
  other.generation = 0;
  other.shard = 1;
  engine_.stats.shards = {shard, other};
  v1::GetCollectionStatsRequest request;
  v1::GetCollectionStatsResponse response;
  request.set_name("collections/c");
  ASSERT_TRUE(collections_.GetCollectionStats(request, &response, context_).ok());
  const v1::CollectionStats& stats = response.stats();
  EXPECT_EQ(stats.segment_memory().code_bytes(), 20);
  EXPECT_EQ(stats.segment_memory().rounded_bytes(), 40);
  EXPECT_EQ(stats.segment_memory().vector_bytes(), 60);
  EXPECT_EQ(stats.segment_memory().label_bytes(), 80);
  EXPECT_EQ(stats.segment_memory().mapped_bytes(), 180);
  const v1::ShardStats& one = stats.shards(0);
  EXPECT_EQ(one.deleted_rows(), 4);
  EXPECT_EQ(one.tail_bytes(), 5);
  EXPECT_EQ(one.segment_memory().mapped_bytes(), 90);
  ASSERT_EQ(one.segment_stats_size(), 1);
  EXPECT_EQ(one.segment_stats(0).kind(), "IVF+GRAPH");
  EXPECT_EQ(one.segment_stats(0).rows(), 50);
  EXPECT_EQ(one.segment_stats(0).deleted_rows(), 4);
  EXPECT_EQ(one.segment_stats(0).generation(), 2);
  EXPECT_EQ(one.generation().generation(), 2);
  EXPECT_EQ(one.generation().trained_rows(), 45);
  EXPECT_EQ(one.generation().calibrated_rows(), 48);
  EXPECT_EQ(one.generation().tune_time().seconds(), 49);
  EXPECT_EQ(one.generation().tuned_points(), 20);
  EXPECT_EQ(one.generation().nlist(), 7);
  EXPECT_EQ(one.generation().nprobe(), 3);
  EXPECT_EQ(one.generation().imbalance(), 1.5);
  EXPECT_EQ(one.generation().train_time().seconds(), 1234);
  EXPECT_EQ(one.last_choice(), "trained 7 lists: grown");
  ASSERT_EQ(one.drift_size(), 1);
  EXPECT_EQ(one.drift(0).name(), "growth");
  EXPECT_EQ(one.drift(0).value(), 2.6);
  EXPECT_EQ(one.drift(0).limit(), 2.5);
  EXPECT_TRUE(one.drift(0).due());
  EXPECT_FALSE(stats.shards(1).has_generation());
}

TEST_F(HandlersTest, StatsTellWhatIsKnownOfRecall) {
  engine::RecallEstimate estimate{.recall = 0.9,
                                  .lower = 0.8,
                                  .upper = 0.95,
                                  .samples = 60,
                                  .source = engine::RecallSource::kLive,
                                  .min_k = 2,
                                  .max_k = 10,
                                  .above_share = 0.1,
                                  .up_to_share = 0.5,
                                  .recall_target = 0.93,
                                  .oldest = absl::FromUnixSeconds(100),
                                  .newest = absl::FromUnixSeconds(200)};
  engine_.stats.recall.live = estimate;
  engine_.stats.recall.by_kind = {estimate};
  engine_.stats.shards.resize(1);
  estimate.samples = 49;
  estimate.source = engine::RecallSource::kStoredDocuments;
  engine_.stats.shards[0].recall.stored_documents = estimate;
  v1::GetCollectionStatsRequest request;
  v1::GetCollectionStatsResponse response;
  request.set_name("collections/c");
  ASSERT_TRUE(collections_.GetCollectionStats(request, &response, context_).ok());
  const v1::RecallStats& stats = response.stats().recall();
  EXPECT_FALSE(stats.has_stored_documents());  // without samples
  ASSERT_EQ(stats.by_kind_size(), 1);
  EXPECT_EQ(stats.by_kind(0).SerializeAsString(), stats.live().SerializeAsString());
  EXPECT_EQ(stats.live().recall(), 0.9);
  EXPECT_EQ(stats.live().lower(), 0.8);
  EXPECT_EQ(stats.live().upper(), 0.95);
  EXPECT_EQ(stats.live().samples(), 60);
  EXPECT_TRUE(stats.live().enough());
  EXPECT_EQ(stats.live().source(), v1::RecallEstimate::SOURCE_LIVE);
  EXPECT_EQ(stats.live().min_k(), 2);
  EXPECT_EQ(stats.live().max_k(), 10);
  EXPECT_EQ(stats.live().above_share(), 0.1);
  EXPECT_EQ(stats.live().up_to_share(), 0.5);
  EXPECT_EQ(stats.live().recall_target(), 0.93);
  EXPECT_EQ(stats.live().oldest_sample_time().seconds(), 100);
  EXPECT_EQ(stats.live().newest_sample_time().seconds(), 200);
  const v1::RecallStats& shard = response.stats().shards(0).recall();
  EXPECT_FALSE(shard.has_live());
  EXPECT_FALSE(shard.stored_documents().enough());
  EXPECT_EQ(shard.stored_documents().source(), v1::RecallEstimate::SOURCE_STORED_DOCUMENTS);
}

TEST_F(HandlersTest, EvaluateRecallAsksAndTells) {
  engine_.evaluation.recall = {
      .recall = 0.75, .samples = 4, .source = engine::RecallSource::kGiven};
  engine_.evaluation.shards.resize(2);
  engine_.evaluation.search_time = absl::Microseconds(30);
  engine_.evaluation.exact_time = absl::Microseconds(700);
  v1::EvaluateRecallRequest request;
  v1::EvaluateRecallResponse response;
  request.set_name("collections/c");
  ASSERT_TRUE(collections_.EvaluateRecall(request, &response, context_).ok());
  EXPECT_EQ(engine_.recall_request.samples, 0);
  EXPECT_EQ(engine_.recall_request.top_k, 10);
  EXPECT_EQ(response.recall().recall(), 0.75);
  EXPECT_EQ(response.recall().source(), v1::RecallEstimate::SOURCE_GIVEN);
  EXPECT_FALSE(response.recall().enough());
  EXPECT_EQ(response.shards_size(), 2);
  EXPECT_FALSE(response.shards(0).has_newest_sample_time());
  EXPECT_EQ(response.search_time().nanos(), 30'000);
  EXPECT_EQ(response.exact_time().nanos(), 700'000);
  request.add_texts("a");
  request.add_vectors()->add_values(2);
  request.set_top_k(3);
  request.set_filter("n = 1");
  request.mutable_parameters()->set_nprobe(7);
  request.mutable_parameters()->set_ef_search(8);
  request.mutable_parameters()->set_rerank(9);
  ASSERT_TRUE(collections_.EvaluateRecall(request, &response, context_).ok());
  EXPECT_EQ(engine_.collection, "c");
  EXPECT_THAT(engine_.recall_request.texts, ElementsAre("a"));
  ASSERT_EQ(engine_.recall_request.vectors.size(), 1u);
  EXPECT_THAT(engine_.recall_request.vectors[0], ElementsAre(2));
  EXPECT_EQ(engine_.recall_request.top_k, 3);
  EXPECT_EQ(engine_.recall_request.filter, "n = 1");
  EXPECT_EQ(engine_.recall_request.nprobe, 7);
  EXPECT_EQ(engine_.recall_request.ef_search, 8);
  EXPECT_EQ(engine_.recall_request.rerank, 9);
  request.set_recall_target(0.9);
  request.set_samples(5);
  ASSERT_TRUE(collections_.EvaluateRecall(request, &response, context_).ok());
  EXPECT_EQ(engine_.recall_request.recall_target, 0.9);
  EXPECT_EQ(engine_.recall_request.nprobe, 0);
  EXPECT_EQ(engine_.recall_request.samples, 5);  // the engine refuses it
  request.set_samples(0);
  ExpectField(collections_.EvaluateRecall(request, &response, context_), "samples", "is 0");
  request.clear_samples();
  request.set_recall_target(0);
  ExpectField(collections_.EvaluateRecall(request, &response, context_), "recall_target", "is 0");
  request.set_name("c");
  ExpectField(collections_.EvaluateRecall(request, &response, context_), "name", "");
  request.set_name("collections/c");
  request.set_recall_target(0.9);
  engine_.failure = absl::NotFoundError("none");
  EXPECT_EQ(collections_.EvaluateRecall(request, &response, context_).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(HandlersTest, TwoEvaluationsMayRunAtOnce) {
  v1::EvaluateRecallRequest request;
  v1::EvaluateRecallResponse response;
  request.set_name("collections/c");
  absl::Status third;
  int depth = 0;
  // From within the first the second is made, and from within it the third.
  engine_.on_search = [&](const engine::CallContext&) {
    v1::EvaluateRecallResponse inner;
    if (++depth == 1) return collections_.EvaluateRecall(request, &inner, context_);
    third = collections_.EvaluateRecall(request, &inner, context_);
    return absl::OkStatus();
  };
  EXPECT_TRUE(collections_.EvaluateRecall(request, &response, context_).ok());
  EXPECT_EQ(third.code(), absl::StatusCode::kResourceExhausted);
  engine_.on_search = nullptr;
  EXPECT_TRUE(collections_.EvaluateRecall(request, &response, context_).ok());
}

TEST_F(HandlersTest, RetrainAndCompactStartOperations) {
  engine_.operations = {Running("5")};
  v1::RetrainIndexRequest retrain;
  google::longrunning::Operation operation;
  retrain.set_name("collections/c");
  retrain.add_shards(1);
  retrain.add_shards(0);
  ASSERT_TRUE(collections_.RetrainIndex(retrain, &operation, context_).ok());
  EXPECT_EQ(engine_.collection, "c");
  EXPECT_EQ(engine_.type, Operation::Type::kRetrain);
  EXPECT_THAT(engine_.shards, ElementsAre(1, 0));
  EXPECT_EQ(operation.name(), "collections/c/operations/5");
  EXPECT_FALSE(operation.done());
  EXPECT_EQ(operation.result_case(), google::longrunning::Operation::RESULT_NOT_SET);
  const v1::IndexOperationMetadata metadata = MetadataOf(operation);
  EXPECT_EQ(metadata.type(), v1::IndexOperationMetadata::TYPE_RETRAIN);
  EXPECT_EQ(metadata.collection(), "collections/c");
  EXPECT_EQ(metadata.create_time().seconds(), 1000);
  EXPECT_FALSE(metadata.has_end_time());
  EXPECT_FALSE(metadata.has_estimate());
  EXPECT_EQ(metadata.shards_done(), 1);
  ASSERT_EQ(metadata.shards_size(), 2);
  EXPECT_EQ(metadata.shards(0).stage(), "training");
  EXPECT_EQ(metadata.shards(0).rows_done(), 3);
  EXPECT_EQ(metadata.shards(0).rows_total(), 9);
  EXPECT_FALSE(metadata.shards(0).has_status());
  EXPECT_TRUE(metadata.shards(1).done());
  EXPECT_EQ(metadata.shards(1).status().code(), 0);

  EXPECT_EQ(engine_.min_recall, 0);
  retrain.set_min_recall_gate(0.9);
  ASSERT_TRUE(collections_.RetrainIndex(retrain, &operation, context_).ok());
  EXPECT_EQ(engine_.min_recall, 0.9);
  for (const bool validate_only : {false, true}) {
    retrain.set_min_recall_gate(1.1);
    retrain.set_validate_only(validate_only);
    ExpectField(collections_.RetrainIndex(retrain, &operation, context_), "min_recall_gate",
                "is 1.1, must be 0 to 1");
  }
  retrain.clear_min_recall_gate();
  retrain.clear_validate_only();

  v1::CompactIndexRequest compact;
  compact.set_name("collections/c");
  ASSERT_TRUE(collections_.CompactIndex(compact, &operation, context_).ok());
  EXPECT_EQ(engine_.type, Operation::Type::kCompact);
  EXPECT_TRUE(engine_.shards.empty());
  compact.set_name("c");
  ExpectField(collections_.CompactIndex(compact, &operation, context_), "name");
  engine_.failure = engine::InvalidField("shards[0]", "is 9");
  ExpectField(collections_.RetrainIndex(retrain, &operation, context_), "shards[0]", "is 9");
}

TEST_F(HandlersTest, ValidateOnlyEstimates) {
  engine_.estimate = {.rows = 10,
                      .deleted_rows = 2,
                      .duration = absl::Milliseconds(1500),
                      .peak_bytes = 300,
                      .index_bytes = 200};
  v1::CompactIndexRequest request;
  google::longrunning::Operation operation;
  request.set_name("collections/c");
  request.set_validate_only(true);
  ASSERT_TRUE(collections_.CompactIndex(request, &operation, context_).ok());
  EXPECT_EQ(operation.name(), "");
  EXPECT_TRUE(operation.done());
  EXPECT_TRUE(operation.response().Is<v1::CompactIndexResponse>());
  const v1::IndexOperationMetadata metadata = MetadataOf(operation);
  EXPECT_EQ(metadata.type(), v1::IndexOperationMetadata::TYPE_COMPACT);
  EXPECT_EQ(metadata.estimate().rows(), 10);
  EXPECT_EQ(metadata.estimate().deleted_rows(), 2);
  EXPECT_EQ(metadata.estimate().duration().seconds(), 1);
  EXPECT_EQ(metadata.estimate().duration().nanos(), 500'000'000);
  EXPECT_EQ(metadata.estimate().peak_bytes(), 300);
  EXPECT_EQ(metadata.estimate().index_bytes(), 200);
  EXPECT_FALSE(metadata.has_create_time());
}

TEST_F(HandlersTest, RetrainsTellWhatWasMeasuredAndHowTheyEnded) {
  Operation::Info info = Running("1");
  info.done = true;
  info.end_time = absl::FromUnixSeconds(1010);
  info.parts[0].outcome = {.kind = Operation::Outcome::Kind::kRejected,
                           .reason = "finds less",
                           .recall_before = 0.96,
                           .recall_after = 0.9,
                           .rows_before = 1000,
                           .rows_after = 900};
  info.parts[1].outcome.kind = Operation::Outcome::Kind::kPublished;
  engine_.operations = {info};
  google::longrunning::GetOperationRequest request;
  google::longrunning::Operation operation;
  request.set_name("collections/c/operations/1");
  ASSERT_TRUE(operations_.GetOperation(request, &operation, context_).ok());
  const v1::IndexOperationMetadata metadata = MetadataOf(operation);
  const v1::IndexOperationShard& shard = metadata.shards(0);
  EXPECT_EQ(shard.outcome(), v1::IndexOperationShard::OUTCOME_REJECTED);
  EXPECT_EQ(shard.reason(), "finds less");
  EXPECT_EQ(shard.recall_before(), 0.96);
  EXPECT_EQ(shard.recall_after(), 0.9);
  EXPECT_EQ(shard.rows_scanned_before(), 1000);
  EXPECT_EQ(shard.rows_scanned_after(), 900);
  EXPECT_EQ(metadata.shards(1).outcome(), v1::IndexOperationShard::OUTCOME_PUBLISHED);
  v1::RetrainIndexResponse response;
  ASSERT_TRUE(operation.response().UnpackTo(&response));
  EXPECT_EQ(response.shards_published(), 1);
  EXPECT_EQ(response.shards_rejected(), 1);
  EXPECT_EQ(response.shards_not_needed(), 0);
}

TEST_F(HandlersTest, OperationsThatAreDoneHaveAResult) {
  Operation::Info good = Running("1");
  good.done = true;
  good.end_time = absl::FromUnixSeconds(1010);
  Operation::Info bad = good;
  bad.id = "2";
  bad.type = Operation::Type::kCompact;
  bad.cancel_requested = true;
  bad.status = absl::CancelledError("stopped");
  engine_.operations = {good, bad};
  google::longrunning::GetOperationRequest request;
  google::longrunning::Operation operation;
  request.set_name("collections/c/operations/1");
  ASSERT_TRUE(operations_.GetOperation(request, &operation, context_).ok());
  EXPECT_TRUE(operation.response().Is<v1::RetrainIndexResponse>());
  EXPECT_EQ(MetadataOf(operation).end_time().seconds(), 1010);
  request.set_name("collections/c/operations/2");
  ASSERT_TRUE(operations_.GetOperation(request, &operation, context_).ok());
  EXPECT_EQ(operation.error().code(), 1);
  EXPECT_EQ(operation.error().message(), "stopped");
  EXPECT_TRUE(MetadataOf(operation).cancel_requested());
  request.set_name("collections/c/operations/3");
  EXPECT_EQ(operations_.GetOperation(request, &operation, context_).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(HandlersTest, OperationNames) {
  google::longrunning::GetOperationRequest get;
  google::longrunning::Operation operation;
  google::longrunning::CancelOperationRequest cancel;
  google::longrunning::DeleteOperationRequest erase;
  google::longrunning::WaitOperationRequest wait;
  google::protobuf::Empty empty;
  for (const std::string& bad :
       {std::string(), std::string("operations/1"), std::string("collections/c"),
        std::string("collections/c/operations/"), std::string("collections/C/operations/1"),
        std::string("collections/c/operations/a/b"), std::string("collections/c/operations/A"),
        "collections/c/operations/" + std::string(64, '1')}) {
    get.set_name(bad);
    cancel.set_name(bad);
    erase.set_name(bad);
    wait.set_name(bad);
    ExpectField(operations_.GetOperation(get, &operation, context_), "name");
    ExpectField(operations_.CancelOperation(cancel, &empty, context_), "name");
    ExpectField(operations_.DeleteOperation(erase, &empty, context_), "name");
    ExpectField(operations_.WaitOperation(wait, &operation, context_), "name");
  }
  cancel.set_name("collections/c/operations/18f-7");
  ASSERT_TRUE(operations_.CancelOperation(cancel, &empty, context_).ok());
  EXPECT_EQ(engine_.operation, "18f-7");
  erase.set_name("collections/d/operations/8");
  engine_.failure = absl::FailedPreconditionError("runs");
  EXPECT_EQ(operations_.DeleteOperation(erase, &empty, context_).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(engine_.collection, "d");
  EXPECT_EQ(engine_.operation, "8");
}

TEST_F(HandlersTest, ListOperationsPages) {
  for (const char* id : {"1", "2", "3", "4", "5"}) engine_.operations.push_back(Running(id));
  google::longrunning::ListOperationsRequest request;
  request.set_name("collections/c");
  request.set_page_size(2);
  std::vector<std::string> seen;
  int pages = 0;
  do {
    google::longrunning::ListOperationsResponse response;
    ASSERT_TRUE(operations_.ListOperations(request, &response, context_).ok());
    for (const auto& operation : response.operations()) seen.push_back(operation.name());
    request.set_page_token(response.next_page_token());
    ASSERT_LE(++pages, 3);
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 3);
  ASSERT_EQ(seen.size(), 5u);
  EXPECT_EQ(seen[4], "collections/c/operations/5");

  google::longrunning::ListOperationsResponse response;
  request.set_page_token("x");
  ExpectField(operations_.ListOperations(request, &response, context_), "page_token");
  request.clear_page_token();
  request.set_filter("done = true");
  ExpectField(operations_.ListOperations(request, &response, context_), "filter");
  request.clear_filter();
  request.set_page_size(-1);
  ExpectField(operations_.ListOperations(request, &response, context_), "page_size");
  request.set_name("operations");
  ExpectField(operations_.ListOperations(request, &response, context_), "name");
}

TEST_F(HandlersTest, WaitOperationKeepsToTheCallersTime) {
  engine_.operations = {Running("1")};
  google::longrunning::WaitOperationRequest request;
  google::longrunning::Operation operation;
  request.set_name("collections/c/operations/1");
  ASSERT_TRUE(operations_.WaitOperation(request, &operation, context_).ok());
  EXPECT_EQ(engine_.timeout, engine::Engine::kMaxOperationWait);
  request.mutable_timeout()->set_seconds(2);
  ASSERT_TRUE(operations_.WaitOperation(request, &operation, context_).ok());
  EXPECT_EQ(engine_.timeout, absl::Seconds(2));
  context_.deadline = absl::Now() + absl::Seconds(1);
  ASSERT_TRUE(operations_.WaitOperation(request, &operation, context_).ok());
  EXPECT_LT(engine_.timeout, absl::Seconds(1));
  context_.deadline = absl::Now();
  ASSERT_TRUE(operations_.WaitOperation(request, &operation, context_).ok());
  EXPECT_EQ(engine_.timeout, absl::ZeroDuration());
  request.mutable_timeout()->set_seconds(std::numeric_limits<int64_t>::min());
  ExpectField(operations_.WaitOperation(request, &operation, context_), "timeout");
}

}  // namespace
}  // namespace vecino::rpc
