#include "vecino/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <limits>
#include <thread>

#include "client/index_conversions.h"
#include "tests/client/fake_server.h"

namespace vecino {
namespace {

using std::chrono::milliseconds;
using testing::BadField;
using testing::FakeServer;
using testing::RetryLater;
using testing::ToGrpc;
using SteadyClock = std::chrono::steady_clock;

class ClientTest : public ::testing::Test {
 protected:
  ClientOptions Options() const {
    return {.server = server_.address(),
            .timeout = milliseconds(20'000),
            .initial_backoff = milliseconds(1),
            .max_backoff = milliseconds(4)};
  }

  FakeServer server_;
};

const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "loading");

TEST_F(ClientTest, RetriesUnavailableUntilItWorks) {
  Client client(Options());
  server_.FailNext(kUnavailable, 3);
  const Result<int64_t> count = client.Count("c");
  ASSERT_TRUE(count.ok()) << count.status().ToString();
  EXPECT_EQ(*count, 0);
  EXPECT_EQ(server_.Calls("CountDocuments"), 4);
}

TEST_F(ClientTest, EvaluatesRecall) {
  Client client(Options());
  v1::EvaluateRecallResponse reply;
  reply.mutable_recall()->set_recall(0.9);
  reply.mutable_recall()->set_samples(60);
  reply.mutable_recall()->set_enough(true);
  reply.mutable_recall()->set_source(v1::RecallEstimate::SOURCE_GIVEN);
  reply.add_shards()->set_source(v1::RecallEstimate::SOURCE_STORED_DOCUMENTS);
  reply.mutable_search_time()->set_nanos(5'000);
  reply.mutable_exact_time()->set_seconds(1);
  server_.SetRecall(reply);
  Result<RecallEvaluation> evaluation = client.EvaluateRecall("c");
  ASSERT_TRUE(evaluation.ok()) << evaluation.status().ToString();
  EXPECT_EQ(evaluation->recall.recall, 0.9);
  EXPECT_EQ(evaluation->recall.samples, 60);
  EXPECT_TRUE(evaluation->recall.enough);
  EXPECT_EQ(evaluation->recall.source, "given");
  ASSERT_EQ(evaluation->shards.size(), 1u);
  EXPECT_EQ(evaluation->shards[0].source, "stored_documents");
  EXPECT_EQ(evaluation->search_time.count(), 5);
  EXPECT_EQ(evaluation->exact_time.count(), 1'000'000);
  v1::EvaluateRecallRequest request = server_.last_recall();
  EXPECT_EQ(request.name(), "collections/c");
  EXPECT_FALSE(request.has_samples());
  EXPECT_EQ(request.top_k(), 10);
  EXPECT_EQ(request.effort_case(), v1::EvaluateRecallRequest::EFFORT_NOT_SET);

  evaluation = client.EvaluateRecall("c", {.vectors = {{1, 2}}, .texts = {"a"}},
                                     {.top_k = 3, .filter = "n = 1", .nprobe = 4});
  ASSERT_TRUE(evaluation.ok());
  request = server_.last_recall();
  EXPECT_EQ(request.vectors(0).values_size(), 2);
  EXPECT_EQ(request.texts(0), "a");
  EXPECT_EQ(request.top_k(), 3);
  EXPECT_EQ(request.filter(), "n = 1");
  EXPECT_EQ(request.parameters().nprobe(), 4);
  EXPECT_TRUE(client.EvaluateRecall("c", {.samples = 7}, {.recall_target = 0.5}).ok());
  EXPECT_EQ(server_.last_recall().samples(), 7);
  EXPECT_EQ(server_.last_recall().recall_target(), 0.5);
  const int calls = server_.Calls("EvaluateRecall");
  EXPECT_EQ(client.EvaluateRecall("c", {}, {.recall_target = 0.5, .nprobe = 4}).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(client.EvaluateRecall("c", {.texts = {"\xff"}}).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(server_.Calls("EvaluateRecall"), calls);
}

TEST_F(ClientTest, GivesUpAfterMaxAttempts) {
  Client client(Options());
  server_.FailNext(kUnavailable, 100);
  const Result<int64_t> count = client.Count("c");
  EXPECT_EQ(count.status().code(), Code::kUnavailable);
  EXPECT_EQ(count.status().message(), "loading");
  EXPECT_EQ(server_.Calls("CountDocuments"), 5);
}

TEST_F(ClientTest, OneDeadlineForAllAttempts) {
  ClientOptions options = Options();
  options.timeout = milliseconds(300);
  options.max_attempts = 1'000'000;
  Client client(options);
  server_.FailNext(kUnavailable, 100'000);
  const auto start = SteadyClock::now();
  const Result<int64_t> count = client.Count("c");
  EXPECT_LT(SteadyClock::now() - start, milliseconds(10'000));
  EXPECT_THAT(count.status().code(), ::testing::AnyOf(Code::kUnavailable, Code::kDeadlineExceeded));
  EXPECT_GT(server_.Calls("CountDocuments"), 5);
}

TEST_F(ClientTest, DeadlinePassesToTheServer) {
  ClientOptions options = Options();
  options.timeout = milliseconds(100);
  Client client(options);
  std::promise<void> release;
  server_.OnCall([&](const std::string&) { release.get_future().wait(); });
  EXPECT_EQ(client.Count("c").status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(server_.Calls("CountDocuments"), 1);  // a deadline is not tried again
  release.set_value();
}

TEST_F(ClientTest, ResourceExhaustedIsRetriedOnlyWhenTheServerSaysWhen) {
  Client client(Options());
  server_.FailNext(RetryLater(30), 2);
  const auto start = SteadyClock::now();
  EXPECT_TRUE(client.Count("c").ok());
  EXPECT_GE(SteadyClock::now() - start, milliseconds(60));
  EXPECT_EQ(server_.Calls("CountDocuments"), 3);

  server_.FailNext(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "disk full"));
  EXPECT_EQ(client.Count("c").status().code(), Code::kResourceExhausted);
  EXPECT_EQ(server_.Calls("CountDocuments"), 4);
}

TEST_F(ClientTest, AWaitThatWouldPassTheDeadlineIsNotBegun) {
  ClientOptions options = Options();
  options.timeout = milliseconds(900);
  Client client(options);
  server_.FailNext(RetryLater(999));
  EXPECT_EQ(client.Count("c").status().code(), Code::kResourceExhausted);
  EXPECT_EQ(server_.Calls("CountDocuments"), 1);
}

TEST_F(ClientTest, OtherErrorsAreNotRetriedAndNameTheField) {
  Client client(Options());
  server_.FailNext(ToGrpc(BadField("top_k", "top_k = 0; it must be 1 to 1,000")));
  const Status status = client.Search("c", Query::Text("x"), {.top_k = 0}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "top_k");
  EXPECT_EQ(status.ToString(), "INVALID_ARGUMENT: top_k = 0; it must be 1 to 1,000");
  EXPECT_EQ(server_.Calls("SearchDocuments"), 1);
}

TEST_F(ClientTest, DetailsThatAreNoStatusAreIgnored) {
  Client client(Options());
  server_.FailNext(grpc::Status(grpc::StatusCode::INTERNAL, "broken", "\xff\xff not a proto"));
  const Status status = client.Count("c").status();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_EQ(status.field(), "");
}

TEST_F(ClientTest, NobodyListening) {
  const std::string address = server_.address();
  server_.Stop();
  ClientOptions options = Options();
  options.server = address;
  options.max_attempts = 2;
  Client client(options);
  EXPECT_EQ(client.Count("c").status().code(), Code::kUnavailable);
  const Status status = client.WaitForReady(milliseconds(200));
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.message(), ::testing::HasSubstr(address));
}

TEST_F(ClientTest, WaitsUntilTheServerServesAndFindsItAgainAfterARestart) {
  server_.server().GetHealthCheckService()->SetServingStatus(false);
  Client client(Options());
  EXPECT_EQ(*client.Health(), "NOT_SERVING");
  EXPECT_EQ(client.WaitForReady(milliseconds(50)).code(), Code::kUnavailable);
  std::thread later([&] { server_.server().GetHealthCheckService()->SetServingStatus(true); });
  EXPECT_TRUE(client.WaitForReady(milliseconds(10'000)).ok());
  later.join();
  EXPECT_EQ(*client.Health(), "SERVING");
  EXPECT_EQ(*client.Health("no.such"), "SERVICE_UNKNOWN");

  const int port = server_.port();
  server_.Stop();
  FakeServer again(port);
  ASSERT_EQ(again.port(), port);
  EXPECT_TRUE(client.WaitForReady(milliseconds(10'000)).ok());
  EXPECT_TRUE(client.Count("c").ok());
}

TEST_F(ClientTest, BatchKeepsOrderAndReportsWhatNeverLeft) {
  Client client(Options());
  server_.FailDocument("d", BadField("documents[1].vector", "documents[1].vector[1] is NaN"));
  const std::vector<Document> documents{
      {.id = "a", .text = "\xff"},
      {.id = "b", .metadata_json = "[1]"},
      {.id = "c", .text = "fine", .metadata_json = R"({"year": 2020, "tags": ["x", null]})"},
      {.id = "d", .vector = {1, std::numeric_limits<float>::quiet_NaN()}},
      {.id = "e", .vector = {1, 2.5}}};
  const Result<std::vector<WriteResult>> results = client.UpsertBatch("c", documents);
  ASSERT_TRUE(results.ok()) << results.status().ToString();
  ASSERT_EQ(results->size(), 5U);
  EXPECT_EQ((*results)[0].status.code(), Code::kInvalidArgument);
  EXPECT_EQ((*results)[0].status.field(), "documents[0].text");
  EXPECT_EQ((*results)[1].status.field(), "documents[1].metadata");
  EXPECT_TRUE((*results)[2].status.ok());
  // Place 1 of what was sent is place 3 of what was given.
  EXPECT_EQ((*results)[3].status.field(), "documents[3].vector");
  EXPECT_EQ((*results)[3].status.message(), "documents[3].vector[1] is NaN");
  EXPECT_TRUE((*results)[4].status.ok());
  EXPECT_LT((*results)[2].token.sequence_number, (*results)[4].token.sequence_number);

  const auto stored = client.GetBatch("c", {"e", "nobody", "c", "e"});
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ((*stored)[0]->vector, (std::vector<float>{1, 2.5}));
  EXPECT_FALSE((*stored)[1].has_value());
  EXPECT_EQ((*stored)[2]->metadata_json, R"({"tags":["x",null],"year":2020})");
  EXPECT_EQ((*stored)[3]->id, "e");
}

TEST_F(ClientTest, CreateRefusesWhatIsThere) {
  Client client(Options());
  const Result<WriteResult> made = client.Create("c", {.id = "a", .text = "one"});
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(made->etag, "made");
  EXPECT_EQ(client.Create("c", {.id = "a", .text = "two"}).status().code(), Code::kAlreadyExists);
  EXPECT_EQ(client.Create("c", {.id = "b", .text = "\xff"}).status().field(), "document.text");
  EXPECT_EQ(server_.Documents().at("a").text(), "one");
  const auto batch =
      client.UpsertBatch("c", {{.id = "a"}, {.id = "n"}}, Truncate::kAuto, WriteMode::kInsert);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ((*batch)[0].status.code(), Code::kAlreadyExists);
  EXPECT_TRUE((*batch)[1].status.ok());
}

TEST_F(ClientTest, UpdateSendsFieldsEtagAndExpiry) {
  Client client(Options());
  const auto changed = client.Update(
      "c", {.id = "a", .text = "new", .etag = "1-2", .ttl = std::chrono::milliseconds(1'500)},
      {"text", "expire_time"});
  ASSERT_TRUE(changed.ok()) << changed.status().ToString();
  EXPECT_EQ(changed->etag, "changed");
  const v1::UpdateDocumentRequest sent = server_.last_update();
  EXPECT_EQ(sent.document().name(), "collections/c/documents/a");
  EXPECT_EQ(sent.document().etag(), "1-2");
  EXPECT_EQ(sent.document().ttl().seconds(), 1);
  EXPECT_EQ(sent.document().ttl().nanos(), 500'000'000);
  EXPECT_THAT(sent.update_mask().paths(), ::testing::ElementsAre("text", "expire_time"));
  EXPECT_FALSE(sent.allow_missing());
  EXPECT_EQ(client.Update("c", {.id = "a"}, {}).status().field(), "update_mask");
  EXPECT_EQ(client.Update("c", {.id = "a"}, {"\xff"}).status().field(), "update_mask");
  EXPECT_EQ(server_.Calls("UpdateDocument"), 1);
}

TEST_F(ClientTest, WhatIsReadCanBeWrittenAgain) {
  Client client(Options());
  const auto expires = std::chrono::system_clock::time_point(std::chrono::microseconds(-1'500'000));
  ASSERT_TRUE(client.Upsert("c", {.id = "a", .etag = "e", .expire_time = expires}).ok());
  EXPECT_EQ(server_.last_update().document().etag(), "e");
  EXPECT_EQ(server_.last_update().document().expire_time().seconds(), -2);
  EXPECT_EQ(server_.last_update().document().expire_time().nanos(), 500'000'000);
  EXPECT_TRUE(server_.last_update().allow_missing());
  EXPECT_EQ(server_.last_update().update_mask().paths_size(), 0);
  const Result<Document> read = client.Get("c", "a");
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->etag, "e");
  EXPECT_EQ(read->expire_time, expires);
  EXPECT_TRUE(client.Delete("c", "a", "e").ok());
  EXPECT_EQ(server_.last_delete().etag(), "e");
}

TEST_F(ClientTest, EmptyBatchesAskNobody) {
  Client client(Options());
  EXPECT_TRUE(client.UpsertBatch("c", {})->empty());
  EXPECT_TRUE(client.GetBatch("c", {})->empty());
  EXPECT_TRUE(client.DeleteBatch("c", {})->empty());
  EXPECT_EQ(server_.Calls("BatchUpsertDocuments") + server_.Calls("BatchGetDocuments"), 0);
}

TEST_F(ClientTest, StringsThatAreNotUtf8NeverLeave) {
  Client client(Options());
  EXPECT_EQ(client.Search("c", Query::Text("\xc0\x80")).status().field(), "text");
  EXPECT_EQ(client.Get("c", "\xed\xa0\x80").status().field(), "name");
  EXPECT_EQ(client.Embed("", {"good", "\xf5"}).status().field(), "texts[1]");
  EXPECT_EQ(server_.Calls("SearchDocuments") + server_.Calls("GetDocument"), 0);
}

TEST_F(ClientTest, ACreationWhoseReplyWasLostSucceeds) {
  Client client(Options());
  server_.LoseReplies(1);
  const Collection wanted{.id = "c", .dimension = 3};
  const Result<Collection> made = client.CreateCollection(wanted);
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(made->dimension, 3);
  EXPECT_EQ(client.CreateCollection(wanted).status().code(), Code::kAlreadyExists);
  // Somebody else's collection of that name is another matter.
  server_.FailNext(kUnavailable);
  EXPECT_EQ(client.CreateCollection({.id = "c", .dimension = 4}).status().code(),
            Code::kAlreadyExists);
  EXPECT_EQ(client.CreateCollection({.id = "d", .index_kind = "tree"}).status().field(),
            "collection.index_policy.kind");
}

TEST_F(ClientTest, IndexPoliciesTravelBothWays) {
  Client client(Options());
  int number = 0;
  for (const char* kind : {"auto", "flat", "ivf-flat", "ivf-sq8", "ivf-pq", "hnsw", "lsh"}) {
    const IndexParameters parameters{.nlist = 1,
                                     .nprobe = 2,
                                     .pq_m = 3,
                                     .pq_bits = 4,
                                     .hnsw_m = 5,
                                     .ef_construction = 6,
                                     .ef_search = 7,
                                     .lsh_bits = 8,
                                     .graph = false};
    const Result<Collection> made = client.CreateCollection({.id = "c" + std::to_string(++number),
                                                             .dimension = 1,
                                                             .index_kind = kind,
                                                             .recall_target = 0.9,
                                                             .index_parameters = parameters});
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    EXPECT_EQ(made->index_kind, kind);
    EXPECT_EQ(made->recall_target, 0.9);
    EXPECT_TRUE(made->index_parameters == parameters) << kind;
  }
  const Result<Collection> plain = client.CreateCollection({.id = "plain", .dimension = 1});
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->index_kind, "");  // it was left to the server, and this one fills nothing in
  EXPECT_TRUE(plain->index_parameters == IndexParameters());
}

TEST_F(ClientTest, OperationsStartWaitAndEnd) {
  Client client(Options());
  server_.DoneAfterWaits(2);
  const Result<Operation> started = client.RetrainIndex("c", {1});
  ASSERT_TRUE(started.ok()) << started.status().ToString();
  EXPECT_EQ(server_.last_retrain().name(), "collections/c");
  EXPECT_THAT(server_.last_retrain().shards(), ::testing::ElementsAre(1));
  EXPECT_EQ(started->id, "7");
  EXPECT_EQ(started->collection, "c");
  EXPECT_FALSE(started->done);
  EXPECT_TRUE(started->status.ok());
  ASSERT_EQ(started->shards.size(), 1U);
  EXPECT_EQ(started->shards[0].stage, "training");
  EXPECT_EQ(started->shards[0].rows_done, 30);
  EXPECT_EQ(started->end_time, std::chrono::system_clock::time_point());

  EXPECT_FALSE(client.WaitOperation("c", "7", milliseconds(1'250))->done);
  EXPECT_EQ(server_.last_wait().name(), "collections/c/operations/7");
  EXPECT_EQ(server_.last_wait().timeout().seconds(), 1);
  EXPECT_EQ(server_.last_wait().timeout().nanos(), 250'000'000);
  const Result<Operation> done = client.WaitOperation("c", "7", milliseconds(1));
  ASSERT_TRUE(done.ok());
  EXPECT_TRUE(done->done);
  EXPECT_EQ(done->status.code(), Code::kInvalidArgument);
  EXPECT_EQ(done->status.message(), "shard 1 failed");
  EXPECT_EQ(done->end_time - done->create_time, std::chrono::seconds(5));
  EXPECT_EQ(client.GetOperation("c", "7")->id, "7");
  EXPECT_EQ(client.ListOperations("c")->size(), 3U);
  EXPECT_TRUE(client.CancelOperation("c", "7").ok());
  EXPECT_EQ(server_.cancelled(), "collections/c/operations/7");
  server_.LoseReplies(1);
  EXPECT_TRUE(client.DeleteOperation("c", "7").ok());
  EXPECT_EQ(client.DeleteOperation("c", "7").code(), Code::kNotFound);
  EXPECT_EQ(client.GetOperation("c", "\xff").status().code(), Code::kInvalidArgument);
}

TEST_F(ClientTest, ValidateOnlyGivesAnEstimate) {
  Client client(Options());
  const Result<Operation> estimated = client.RetrainIndex("c", {}, /*validate_only=*/true);
  ASSERT_TRUE(estimated.ok()) << estimated.status().ToString();
  EXPECT_TRUE(server_.last_retrain().validate_only());
  EXPECT_EQ(server_.last_retrain().min_recall_gate(), 0);
  ASSERT_TRUE(client.RetrainIndex("c", {}, false, 0.9).ok());
  EXPECT_EQ(server_.last_retrain().min_recall_gate(), 0.9);
  EXPECT_EQ(estimated->id, "");
  ASSERT_TRUE(estimated->estimate.has_value());
  EXPECT_EQ(estimated->estimate->rows, 10);
  EXPECT_EQ(estimated->estimate->duration, milliseconds(5));
}

TEST_F(ClientTest, AnOperationOfALaterServerHasAnUnknownType) {
  v1::IndexOperationMetadata metadata;
  google::longrunning::Operation message;
  for (const auto& [sent, expected] :
       {std::pair{99, Operation::Type::kUnknown},
        std::pair{static_cast<int>(v1::IndexOperationMetadata::TYPE_RETRAIN),
                  Operation::Type::kRetrain}}) {
    metadata.set_type(static_cast<v1::IndexOperationMetadata::Type>(sent));
    message.mutable_metadata()->PackFrom(metadata);
    EXPECT_EQ(internal::FromProto(message).type, expected);
  }
}

TEST_F(ClientTest, TuningsTellTheirCurve) {
  Client client(Options());
  Result<Operation> tuned = client.TuneIndex("c");
  ASSERT_TRUE(tuned.ok()) << tuned.status().ToString();
  EXPECT_EQ(server_.last_tune().name(), "collections/c");
  EXPECT_EQ(server_.last_tune().top_k(), 10);
  EXPECT_FALSE(server_.last_tune().has_samples());
  EXPECT_FALSE(server_.last_tune().has_recall_target());
  EXPECT_EQ(tuned->type, Operation::Type::kTune);
  EXPECT_EQ(tuned->id, "8");
  ASSERT_TRUE(tuned->tuning.has_value());
  ASSERT_EQ(tuned->tuning->points.size(), 2U);
  EXPECT_EQ(tuned->tuning->points[0].breadth, 3);
  EXPECT_EQ(tuned->tuning->points[0].recall, 0.875);
  EXPECT_EQ(tuned->tuning->points[0].recall_error, 0.01);
  EXPECT_EQ(tuned->tuning->points[0].p50, std::chrono::nanoseconds(1'500));
  EXPECT_EQ(tuned->tuning->points[0].p99, std::chrono::seconds(1));
  EXPECT_EQ(tuned->tuning->points[0].rows_scanned, 120);
  ASSERT_TRUE(tuned->tuning->recommended.has_value());
  EXPECT_TRUE(tuned->tuning->recommended->exact);
  EXPECT_EQ(tuned->tuning->recall_target, 0.95);
  EXPECT_EQ(tuned->tuning->queries, 100);
  EXPECT_EQ(tuned->tuning->shards_tuned, 2);

  TuningOptions options;
  options.queries.vectors = {{1, 2}};
  options.queries.texts = {"a"};
  options.top_k = 3;
  options.filter = "n = 1";
  options.recall_target = 0.9;
  options.shards = {1};
  tuned = client.TuneIndex("c", options, /*validate_only=*/true);
  ASSERT_TRUE(tuned.ok()) << tuned.status().ToString();
  EXPECT_FALSE(tuned->tuning.has_value());
  EXPECT_EQ(tuned->estimate->rows, 10);
  const v1::TuneIndexRequest request = server_.last_tune();
  EXPECT_EQ(request.vectors_size(), 1);
  EXPECT_THAT(request.texts(), ::testing::ElementsAre("a"));
  EXPECT_EQ(request.top_k(), 3);
  EXPECT_EQ(request.filter(), "n = 1");
  EXPECT_EQ(request.recall_target(), 0.9);
  EXPECT_THAT(request.shards(), ::testing::ElementsAre(1));
  EXPECT_TRUE(request.validate_only());
  options.filter = "\xff";
  EXPECT_EQ(client.TuneIndex("c", options).status().code(), Code::kInvalidArgument);
}

TEST_F(ClientTest, ADeletionWhoseReplyWasLostSucceeds) {
  Client client(Options());
  ASSERT_TRUE(client.CreateCollection({.id = "c", .dimension = 1}).ok());
  ASSERT_TRUE(client.Upsert("c", {.id = "a", .vector = {1}}).ok());
  server_.LoseReplies(1);
  EXPECT_TRUE(client.Delete("c", "a").ok());
  EXPECT_EQ(client.Delete("c", "a").code(), Code::kNotFound);
}

TEST_F(ClientTest, ListsCollectionsThroughAllPages) {
  Client client(Options());
  for (const char* id : {"a", "b", "c", "d", "e"}) {
    ASSERT_TRUE(client.CreateCollection({.id = id, .dimension = 1, .metric = Metric::kL2}).ok());
  }
  const Result<std::vector<Collection>> collections = client.ListCollections();
  ASSERT_TRUE(collections.ok());
  ASSERT_EQ(collections->size(), 5U);
  EXPECT_EQ((*collections)[4].id, "e");
  EXPECT_EQ((*collections)[4].metric, Metric::kL2);
}

TEST_F(ClientTest, LargeRepliesArrive) {
  Client client(Options());
  const std::string text(1 << 20, 'x');
  std::vector<std::string> ids;
  for (int i = 0; i < 12; ++i) {  // three times gRPC's default limit of 4 MiB
    ids.push_back(std::to_string(i));
    ASSERT_TRUE(client.Upsert("c", {.id = ids.back(), .text = text}).ok());
  }
  const auto documents = client.GetBatch("c", ids);
  ASSERT_TRUE(documents.ok()) << documents.status().ToString();
  for (const auto& document : *documents) EXPECT_EQ(document->text.size(), text.size());
}

TEST_F(ClientTest, SearchCarriesEveryOption) {
  Client client(Options());
  ASSERT_TRUE(client.Upsert("c", {.id = "a", .vector = {1}}).ok());
  const Result<SearchResponse> response =
      client.Search("c", Query::Vector({0.5, -1}),
                    {.top_k = 7,
                     .read_mask = {.text = false, .metadata = false, .vector = true},
                     .write_tokens = {{.shard = 1, .sequence_number = 9}},
                     .truncate = Truncate::kError});
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response->hits.at(0).document.id, "a");
  EXPECT_EQ(response->metric, Metric::kDot);
  EXPECT_EQ(response->search_time, std::chrono::microseconds(1'500));
  const v1::SearchDocumentsRequest sent = server_.last_search();
  EXPECT_THAT(sent.vector().values(), ::testing::ElementsAre(0.5, -1));
  EXPECT_EQ(sent.top_k(), 7);
  EXPECT_THAT(sent.read_mask().paths(), ::testing::ElementsAre("vector"));
  EXPECT_EQ(sent.write_tokens(0).sequence_number(), 9);
  EXPECT_EQ(sent.truncate(), v1::TRUNCATE_MODE_ERROR);

  EXPECT_EQ(sent.effort_case(), v1::SearchDocumentsRequest::EFFORT_NOT_SET);

  ASSERT_TRUE(client.Search("c", Query::DocumentId("a"), {.recall_target = 0.99}).ok());
  EXPECT_EQ(server_.last_search().recall_target(), 0.99);
  ASSERT_TRUE(
      client.Search("c", Query::DocumentId("a"), {.nprobe = 1, .ef_search = 2, .rerank = 3}).ok());
  EXPECT_EQ(server_.last_search().parameters().nprobe(), 1);
  EXPECT_EQ(server_.last_search().parameters().ef_search(), 2);
  EXPECT_EQ(server_.last_search().parameters().rerank(), 3);
  EXPECT_FALSE(server_.last_search().parameters().exact());
  ASSERT_TRUE(client.Search("c", Query::DocumentId("a"), {.exact = true}).ok());
  EXPECT_TRUE(server_.last_search().parameters().exact());
  const auto both =
      client.Search("c", Query::DocumentId("a"), {.recall_target = 0.9, .exact = true});
  EXPECT_EQ(both.status().field(), "recall_target");

  ASSERT_TRUE(client.Search("c", Query::DocumentId("a"), {.read_mask = {false, false}}).ok());
  EXPECT_EQ(server_.last_search().document_id(), "a");
  EXPECT_THAT(server_.last_search().read_mask().paths(), ::testing::ElementsAre("id"));
  const v1::SearchDocumentsRequest plain = server_.last_search();
  EXPECT_FALSE(plain.has_min_score() || plain.has_group_by() || plain.has_diversify());
  EXPECT_EQ(plain.page_token(), "");
}

TEST_F(ClientTest, SearchCarriesSumsAndShapes) {
  Client client(Options());
  ASSERT_TRUE(client.Upsert("c", {.id = "a", .vector = {1}}).ok());
  const Result<SearchResponse> response =
      client.Search("c",
                    Query::Expression({QueryTerm::Text("king"), QueryTerm::DocumentId("man", -0.5F),
                                       QueryTerm::Vector({1, 2}, 3)},
                                      true),
                    {.min_score = 0.0F,
                     .group_by = GroupBy{.field = "x.y", .group_size = 4},
                     .diversify = Diversify{.lambda = 0.0F, .candidates = 50},
                     .page_token = "token"});
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response->next_page_token, "next");
  EXPECT_EQ(response->hits.at(0).group_json, R"("a \"group\"")");
  v1::SearchDocumentsRequest sent = server_.last_search();
  ASSERT_EQ(sent.expression().terms_size(), 3);
  EXPECT_TRUE(sent.expression().include_term_documents());
  EXPECT_EQ(sent.expression().terms(0).text(), "king");
  EXPECT_EQ(sent.expression().terms(0).weight(), 1);
  EXPECT_EQ(sent.expression().terms(1).document_id(), "man");
  EXPECT_EQ(sent.expression().terms(1).weight(), -0.5F);
  EXPECT_THAT(sent.expression().terms(2).vector().values(), ::testing::ElementsAre(1, 2));
  EXPECT_TRUE(sent.has_min_score());
  EXPECT_EQ(sent.group_by().field(), "x.y");
  EXPECT_EQ(sent.group_by().group_size(), 4);
  EXPECT_TRUE(sent.diversify().has_lambda());
  EXPECT_EQ(sent.diversify().candidates(), 50);
  EXPECT_EQ(sent.page_token(), "token");
  ASSERT_TRUE(client.Search("c", Query::Text("x"), {.diversify = Diversify{}}).ok());
  EXPECT_FALSE(server_.last_search().diversify().has_candidates());
  EXPECT_EQ(server_.last_search().diversify().lambda(), 0.5F);

  const auto field = [&](const Query& query, const SearchOptions& options) {
    return client.Search("c", query, options).status().field();
  };
  const int calls = server_.Calls("SearchDocuments");
  EXPECT_EQ(field(Query::Expression({QueryTerm::Text("x"), QueryTerm::Text("\xff")}), {}),
            "expression.terms[1].text");
  EXPECT_EQ(field(Query::Expression({QueryTerm::DocumentId("\xff")}), {}),
            "expression.terms[0].document_id");
  EXPECT_EQ(field(Query::Text("x"), {.group_by = GroupBy{.field = "\xff"}}), "group_by.field");
  EXPECT_EQ(field(Query::Text("x"), {.page_token = "\xff"}), "page_token");
  EXPECT_EQ(server_.Calls("SearchDocuments"), calls);
}

TEST_F(ClientTest, ABatchOfSearchesHasOneResultEach) {
  Client client(Options());
  const auto results = client.SearchBatch(
      "c",
      {{Query::Text("x"), {}}, {Query::Text("y"), {.top_k = 0}}, {Query::DocumentId("z"), {}}});
  ASSERT_TRUE(results.ok()) << results.status().ToString();
  ASSERT_EQ(results->size(), 3u);
  EXPECT_EQ((*results)[0]->metric, Metric::kL2);
  EXPECT_EQ((*results)[1].status().code(), Code::kInvalidArgument);
  EXPECT_EQ((*results)[1].status().field(), "top_k");
  EXPECT_TRUE((*results)[2].ok());
  EXPECT_EQ(server_.last_search().document_id(), "z");
  EXPECT_EQ(server_.Calls("BatchSearchDocuments"), 1);
  const Status refused =
      client.SearchBatch("c", {{Query::Text("x"), {}}, {Query::Text("\xff"), {}}}).status();
  EXPECT_EQ(refused.field(), "requests[1].text");
  EXPECT_EQ(server_.Calls("BatchSearchDocuments"), 1);
  server_.FailNext(grpc::Status(grpc::StatusCode::NOT_FOUND, "no collection"));
  EXPECT_EQ(client.SearchBatch("c", {{Query::Text("x"), {}}}).status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace vecino
