// Tunings, as callers see them.
#include <memory>
#include <string>

#include "server/rpc/index_conversions.h"
#include "tests/server/rpc/handlers_fixture.h"
#include "vecino/v1/index_operation.pb.h"

namespace vecino::rpc {
namespace {

using engine::Operation;
using testing::ElementsAre;

Operation::Info Running(const std::string& id) {
  Operation::Info info;
  info.id = id;
  info.collection = "c";
  info.create_time = absl::FromUnixSeconds(1000);
  info.end_time = absl::InfiniteFuture();
  info.parts = {{.shard = 0, .stage = "waiting"}, {.shard = 1, .stage = "done", .done = true}};
  return info;
}

v1::IndexOperationMetadata MetadataOf(const google::longrunning::Operation& operation) {
  v1::IndexOperationMetadata metadata;
  EXPECT_TRUE(operation.metadata().UnpackTo(&metadata));
  return metadata;
}

TEST_F(HandlersTest, TuneIndexAsksAndTells) {
  Operation::Info info = Running("6");
  info.type = Operation::Type::kTune;
  info.parts[0] = {.shard = 0, .stage = "measuring", .rows_done = 32, .rows_total = 500};
  engine_.operations = {info};
  v1::TuneIndexRequest request;
  google::longrunning::Operation operation;
  request.set_name("collections/c");
  ASSERT_TRUE(collections_.TuneIndex(request, &operation, context_).ok());
  EXPECT_EQ(engine_.collection, "c");
  EXPECT_EQ(engine_.tune_request.search.top_k, 10);
  EXPECT_EQ(engine_.tune_request.search.samples, 0);
  EXPECT_EQ(engine_.tune_request.search.recall_target, 0);
  EXPECT_EQ(operation.name(), "collections/c/operations/6");
  EXPECT_EQ(MetadataOf(operation).type(), v1::IndexOperationMetadata::TYPE_TUNE);
  EXPECT_EQ(MetadataOf(operation).shards(0).stage(), "measuring");
  EXPECT_EQ(MetadataOf(operation).shards(0).rows_done(), 32);

  request.add_shards(1);
  request.add_texts("a");
  request.add_vectors()->add_values(2);
  request.set_samples(7);  // the engine refuses it beside these
  request.set_top_k(3);
  request.set_filter("n = 1");
  request.set_recall_target(0.9);
  ASSERT_TRUE(collections_.TuneIndex(request, &operation, context_).ok());
  const engine::TuneRequest& asked = engine_.tune_request;
  EXPECT_THAT(asked.shards, ElementsAre(1));
  EXPECT_THAT(asked.search.texts, ElementsAre("a"));
  ASSERT_EQ(asked.search.vectors.size(), 1u);
  EXPECT_EQ(asked.search.samples, 7);
  EXPECT_EQ(asked.search.top_k, 3);
  EXPECT_EQ(asked.search.filter, "n = 1");
  EXPECT_EQ(asked.search.recall_target, 0.9);

  engine_.estimate = {.rows = 10};
  operation.Clear();
  request.set_validate_only(true);
  ASSERT_TRUE(collections_.TuneIndex(request, &operation, context_).ok());
  EXPECT_TRUE(operation.done());
  EXPECT_EQ(operation.name(), "");
  EXPECT_EQ(MetadataOf(operation).estimate().rows(), 10);
  v1::TuneIndexResponse nothing;
  ASSERT_TRUE(operation.response().UnpackTo(&nothing));
  EXPECT_EQ(nothing.points_size(), 0);

  request.set_samples(0);
  ExpectField(collections_.TuneIndex(request, &operation, context_), "samples", "is 0");
  request.clear_samples();
  request.set_recall_target(0);
  ExpectField(collections_.TuneIndex(request, &operation, context_), "recall_target", "is 0");
  request.clear_recall_target();
  request.set_name("c");
  ExpectField(collections_.TuneIndex(request, &operation, context_), "name");
  request.set_name("collections/c");
  engine_.failure = absl::FailedPreconditionError("no documents");
  EXPECT_EQ(collections_.TuneIndex(request, &operation, context_).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(TuneIndexResponseTest, HasTheCurve) {
  Operation::Info info = Running("6");
  info.type = Operation::Type::kTune;
  info.done = true;
  info.end_time = absl::FromUnixSeconds(1001);
  using Kind = Operation::Outcome::Kind;
  info.parts[0] = {.shard = 0, .stage = "published", .done = true, .outcome = {Kind::kPublished}};
  info.parts[1].outcome = {Kind::kNotNeeded, "exact"};
  engine::TuningResult tuning;
  tuning.points = {{.breadth = 3,
                    .recall = 0.875,
                    .error = 0.25,
                    .p50 = absl::Microseconds(30),
                    .p99 = absl::Microseconds(700),
                    .rows_scanned = 120},
                   {.recall = 1, .rows_scanned = 1000, .exact = true}};
  tuning.recommended = 1;
  tuning.target = 0.95;
  tuning.queries = 100;
  tuning.live_queries = 40;
  tuning.share = 0.5;
  info.tuning = std::make_shared<const engine::TuningResult>(tuning);
  google::longrunning::Operation operation;
  WriteOperation(info, &operation);
  v1::TuneIndexResponse response;
  ASSERT_TRUE(operation.response().UnpackTo(&response));
  ASSERT_EQ(response.points_size(), 2);
  EXPECT_EQ(response.points(0).breadth(), 3);
  EXPECT_EQ(response.points(0).recall(), 0.875);
  EXPECT_EQ(response.points(0).recall_error(), 0.25);
  EXPECT_EQ(response.points(0).p50().nanos(), 30'000);
  EXPECT_EQ(response.points(0).p99().nanos(), 700'000);
  EXPECT_EQ(response.points(0).rows_scanned(), 120);
  EXPECT_FALSE(response.points(0).exact());
  EXPECT_TRUE(response.recommended().exact());
  EXPECT_EQ(response.recommended().rows_scanned(), 1000);
  EXPECT_EQ(response.recall_target(), 0.95);
  EXPECT_EQ(response.queries(), 100);
  EXPECT_EQ(response.live_queries(), 40);
  EXPECT_EQ(response.share(), 0.5);
  EXPECT_EQ(response.shards_tuned(), 1);
  EXPECT_EQ(response.shards_not_needed(), 1);
}

}  // namespace
}  // namespace vecino::rpc
