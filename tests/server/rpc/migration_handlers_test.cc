// Migrations of embeddings, as callers see them.
#include "server/rpc/migration_handlers.h"

#include "server/rpc/index_conversions.h"
#include "tests/server/rpc/handlers_fixture.h"
#include "vecino/v1/index_operation.pb.h"

namespace vecino::rpc {
namespace {

using engine::MigrationInfo;
using engine::MigrationSide;
using engine::Operation;
using testing::ElementsAre;

MigrationInfo Example() {
  MigrationInfo info;
  info.state = MigrationInfo::State::kCutOver;
  info.active = MigrationSide::kNew;
  info.old_side = {
      .model = "", .model_hash = "", .prompts = {}, .dimension = 3, .without_vector = 0};
  info.new_side = {.model = "m",
                   .model_hash = "h",
                   .prompts = {.query = "ask", .document = "document"},
                   .dimension = 6,
                   .without_vector = 2};
  info.documents_done = 4;
  info.documents_total = 5;
  info.lag = 1;
  info.overlap = engine::MigrationOverlap{
      .samples = 7, .top_k = 10, .overlap = 0.5, .rank_biased = 0.25, .own_texts = true};
  info.operation = "9-1";
  info.begin_time = absl::FromUnixSeconds(1000);
  info.switch_time = absl::FromUnixSeconds(2000);
  info.problem = absl::UnavailableError("no model");
  return info;
}

void ExpectExample(const v1::EmbeddingMigration& migration) {
  EXPECT_EQ(migration.state(), v1::EmbeddingMigration::STATE_CUT_OVER);
  EXPECT_EQ(migration.active(), v1::EMBEDDING_SIDE_NEW);
  EXPECT_FALSE(migration.old_side().has_embedding());
  EXPECT_EQ(migration.old_side().dimension(), 3);
  EXPECT_EQ(migration.new_side().embedding().model(), "models/m");
  EXPECT_EQ(migration.new_side().embedding().model_hash(), "h");
  EXPECT_EQ(migration.new_side().embedding().query_prompt(), "ask");
  EXPECT_EQ(migration.new_side().embedding().document_prompt(), "document");
  EXPECT_EQ(migration.new_side().documents_without_vector(), 2);
  EXPECT_EQ(migration.documents_done(), 4);
  EXPECT_EQ(migration.documents_total(), 5);
  EXPECT_EQ(migration.lag(), 1);
  EXPECT_EQ(migration.overlap().samples(), 7);
  EXPECT_EQ(migration.overlap().overlap(), 0.5);
  EXPECT_EQ(migration.overlap().rank_biased_overlap(), 0.25);
  EXPECT_TRUE(migration.overlap().own_texts());
  EXPECT_EQ(migration.operation(), "collections/c/operations/9-1");
  EXPECT_EQ(migration.begin_time().seconds(), 1000);
  EXPECT_EQ(migration.switch_time().seconds(), 2000);
  EXPECT_EQ(migration.problem(), "no model");
}

class MigrationHandlersTest : public HandlersTest {
 protected:
  MigrationHandlersTest() {
    Operation::Info operation;
    operation.id = "9-1";
    operation.collection = "c";
    operation.type = Operation::Type::kMigrate;
    operation.create_time = absl::FromUnixSeconds(1000);
    operation.end_time = absl::InfiniteFuture();
    engine_.operations = {operation};
    engine_.collections = {Info("c")};
    request_.set_name("collections/c");
    request_.mutable_embedding()->set_model("models/m@int8");
  }
  absl::Status Migrate() {
    response_.Clear();
    return migrations_.MigrateEmbeddings(request_, &response_, context_);
  }

  MigrationHandlers migrations_{&engine_};
  v1::MigrateEmbeddingsRequest request_;
  google::longrunning::Operation response_;
};

TEST_F(MigrationHandlersTest, WhatIsAskedForReachesTheEngine) {
  ASSERT_TRUE(Migrate().ok());
  EXPECT_EQ(response_.name(), "collections/c/operations/9-1");
  EXPECT_EQ(engine_.migration.model, "m@int8");
  EXPECT_EQ(engine_.migration.top_k, 10);
  EXPECT_FALSE(engine_.migration.automatic || engine_.migration.allow_vectorless);
  EXPECT_EQ(engine_.migration.prompts, engine::PromptNames());
  request_.mutable_embedding()->set_query_prompt("ask");
  request_.mutable_embedding()->set_document_prompt("passage");
  request_.set_dimension(5);
  request_.add_queries("one");
  request_.add_queries("two");
  request_.set_top_k(3);
  request_.set_cut_over(v1::MigrateEmbeddingsRequest::CUT_OVER_AUTOMATIC);
  request_.set_min_overlap(0.75);
  request_.set_allow_vectorless(true);
  ASSERT_TRUE(Migrate().ok());
  EXPECT_EQ(engine_.migration.dimension, 5);
  EXPECT_EQ(engine_.migration.prompts, (engine::PromptNames{"ask", "passage"}));
  EXPECT_THAT(engine_.migration.queries, ElementsAre("one", "two"));
  EXPECT_EQ(engine_.migration.top_k, 3);
  EXPECT_TRUE(engine_.migration.automatic && engine_.migration.allow_vectorless);
  EXPECT_EQ(engine_.migration.min_overlap, 0.75);

  engine_.estimate.rows = 12;
  request_.set_validate_only(true);
  ASSERT_TRUE(Migrate().ok());
  EXPECT_TRUE(response_.done() && response_.name().empty());
  v1::IndexOperationMetadata metadata;
  ASSERT_TRUE(response_.metadata().UnpackTo(&metadata));
  EXPECT_EQ(metadata.type(), v1::IndexOperationMetadata::TYPE_MIGRATE);
  EXPECT_EQ(metadata.estimate().rows(), 12);
  EXPECT_TRUE(response_.response().Is<v1::MigrateEmbeddingsResponse>());
}

TEST_F(MigrationHandlersTest, FaultsAreNamed) {
  request_.clear_embedding();
  ExpectField(Migrate(), "embedding.model");
  request_.mutable_embedding()->set_model("m");
  ExpectField(Migrate(), "embedding.model");
  request_.mutable_embedding()->set_model("models/m");
  request_.set_min_overlap(0.5);
  ExpectField(Migrate(), "min_overlap");
  request_.set_cut_over(static_cast<v1::MigrateEmbeddingsRequest::CutOver>(9));
  ExpectField(Migrate(), "cut_over", "9");
  request_.set_name("c");
  ExpectField(Migrate(), "name");

  v1::SwitchEmbeddingsRequest to;
  v1::SwitchEmbeddingsResponse switched;
  to.set_name("collections/c");
  ExpectField(migrations_.SwitchEmbeddings(to, &switched, context_), "to");
  v1::FinishEmbeddingMigrationRequest finish;
  v1::FinishEmbeddingMigrationResponse finished;
  finish.set_name("collections/c");
  finish.set_keep(static_cast<v1::EmbeddingSide>(9));
  ExpectField(migrations_.FinishEmbeddingMigration(finish, &finished, context_), "keep");
}

TEST_F(MigrationHandlersTest, SwitchesAndEnds) {
  engine_.collections[0].migration = Example();
  v1::SwitchEmbeddingsRequest to;
  v1::SwitchEmbeddingsResponse switched;
  to.set_name("collections/c");
  to.set_to(v1::EMBEDDING_SIDE_NEW);
  ASSERT_TRUE(migrations_.SwitchEmbeddings(to, &switched, context_).ok());
  EXPECT_EQ(engine_.side, MigrationSide::kNew);
  ExpectExample(switched.collection().migration());
  v1::FinishEmbeddingMigrationRequest finish;
  v1::FinishEmbeddingMigrationResponse finished;
  finish.set_name("collections/c");
  ASSERT_TRUE(migrations_.FinishEmbeddingMigration(finish, &finished, context_).ok());
  EXPECT_EQ(engine_.side, std::nullopt);
  finish.set_keep(v1::EMBEDDING_SIDE_OLD);
  ASSERT_TRUE(migrations_.FinishEmbeddingMigration(finish, &finished, context_).ok());
  EXPECT_EQ(engine_.side, MigrationSide::kOld);
}

TEST_F(MigrationHandlersTest, AnOperationTellsHowItStands) {
  Operation::Info info = engine_.operations[0];
  info.done = true;
  info.end_time = absl::FromUnixSeconds(1001);
  info.migration = std::make_shared<const MigrationInfo>(Example());
  google::longrunning::Operation out;
  WriteOperation(info, &out);
  v1::IndexOperationMetadata metadata;
  ASSERT_TRUE(out.metadata().UnpackTo(&metadata));
  ExpectExample(metadata.migration());
  v1::MigrateEmbeddingsResponse response;
  ASSERT_TRUE(out.response().UnpackTo(&response));
  EXPECT_EQ(response.overlap().samples(), 7);
}

}  // namespace
}  // namespace vecino::rpc
