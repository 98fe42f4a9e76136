// What UpdateCollection asks the engine for, by mask and by what is set.
#include <string>
#include <vector>

#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

class CollectionUpdateTest : public HandlersTest {
 protected:
  void SetUp() override {
    engine::CollectionInfo info = Info("c");
    info.spec.index = {.kind = engine::IndexKind::kIvfFlat,
                       .recall_target = 0.9,
                       .nlist = 100,
                       .nprobe = 5,
                       .graph = true};
    info.etag = "e.1";
    engine_.collections = {info};
  }
  // The status; what the engine was asked for is in engine_.update then.
  absl::Status Update(const v1::Collection& collection, const std::vector<std::string>& mask) {
    v1::UpdateCollectionRequest request;
    *request.mutable_collection() = collection;
    for (const std::string& path : mask) request.mutable_update_mask()->add_paths(path);
    engine_.update = {};
    reply_.Clear();
    return collections_.UpdateCollection(request, &reply_, context_);
  }
  static v1::Collection Named() {
    v1::Collection collection;
    collection.set_name("collections/c");
    return collection;
  }
  // As a caller has it who read it.
  v1::Collection Read() {
    v1::GetCollectionRequest request;
    v1::GetCollectionResponse response;
    request.set_name("collections/c");
    EXPECT_TRUE(collections_.GetCollection(request, &response, context_).ok());
    return response.collection();
  }

  v1::UpdateCollectionResponse reply_;
};

TEST_F(CollectionUpdateTest, TheMaskSaysWhatIsChanged) {
  v1::Collection given = Named();
  given.set_etag("e.1");
  given.mutable_index_policy()->set_recall_target(0.8);
  given.mutable_index_policy()->mutable_parameters()->set_nprobe(7);
  ASSERT_TRUE(Update(given, {"index_policy.recall_target"}).ok());
  EXPECT_EQ(engine_.update.id, "c");
  EXPECT_EQ(engine_.update.etag, "e.1");
  EXPECT_EQ(engine_.update.recall_target, 0.8);
  EXPECT_FALSE(engine_.update.nprobe || engine_.update.ef_search || engine_.update.graph);
  EXPECT_FALSE(engine_.update.validate_only);
  EXPECT_EQ(reply_.collection().name(), "collections/c");
  EXPECT_EQ(reply_.collection().etag(), "e.1");

  // What is named and not set gets its default.
  ASSERT_TRUE(
      Update(Named(), {"index_policy.recall_target", "index_policy.parameters.nprobe",
                       "index_policy.parameters.ef_search", "index_policy.parameters.graph"})
          .ok());
  EXPECT_EQ(engine_.update.recall_target, 0.95);
  EXPECT_EQ(engine_.update.nprobe, 0);
  EXPECT_EQ(engine_.update.ef_search, 0);
  EXPECT_EQ(engine_.update.graph, true);

  // So it does in a message that is named; what cannot be changed may be left out of it.
  for (const char* const whole : {"*", "index_policy"}) {
    ASSERT_TRUE(Update(given, {whole}).ok()) << whole;
    EXPECT_EQ(engine_.update.recall_target, 0.8);
    EXPECT_EQ(engine_.update.nprobe, 7);
    EXPECT_EQ(engine_.update.ef_search, 0);
    EXPECT_EQ(engine_.update.graph, true);
  }
  ASSERT_TRUE(Update(given, {"index_policy.parameters"}).ok());
  EXPECT_FALSE(engine_.update.recall_target);
  EXPECT_EQ(engine_.update.nprobe, 7);
}

TEST_F(CollectionUpdateTest, WithoutAMaskWhatIsSetIsChanged) {
  ASSERT_TRUE(Update(Named(), {}).ok());
  EXPECT_FALSE(engine_.update.recall_target || engine_.update.nprobe || engine_.update.graph);
  v1::Collection given = Named();
  given.mutable_index_policy()->mutable_parameters()->set_graph(false);
  ASSERT_TRUE(Update(given, {}).ok());
  EXPECT_EQ(engine_.update.graph, false);
  EXPECT_FALSE(engine_.update.recall_target || engine_.update.nprobe);

  // Read, changed, written back.
  v1::Collection read = Read();
  read.mutable_index_policy()->set_recall_target(0.99);
  for (const std::vector<std::string>& mask : {std::vector<std::string>(), {"*"}}) {
    const absl::Status status = Update(read, mask);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(engine_.update.recall_target, 0.99);
    EXPECT_EQ(engine_.update.nprobe, 5);
    EXPECT_EQ(engine_.update.etag, "e.1");
  }
}

TEST_F(CollectionUpdateTest, WhatCannotBeChangedIsNamedWithAWayOut) {
  v1::Collection given = Named();
  given.set_dimension(4);
  for (const std::vector<std::string>& mask : {std::vector<std::string>(), {"*"}, {"dimension"}}) {
    ExpectField(Update(given, mask), "collection.dimension",
                "is 4, and the collection's is 3; it cannot be changed: MigrateEmbeddings");
  }
  EXPECT_TRUE(Update(given, {"index_policy"}).ok());  // it is not meant
  ExpectField(Update(Named(), {"dimension"}), "collection.dimension", "is 0");
  given.set_dimension(3);
  EXPECT_TRUE(Update(given, {"dimension"}).ok());

  const auto refused = [&](const auto& set, const std::string& field) {
    v1::Collection changed = Named();
    set(&changed);
    ExpectField(Update(changed, {}), "collection." + field, "point an alias to it");
    ExpectField(Update(changed, {"*"}), "collection." + field);
    EXPECT_TRUE(Update(changed, {"index_policy.recall_target"}).ok());
  };
  refused([](auto* c) { c->set_metric(v1::METRIC_L2); }, "metric");
  refused([](auto* c) { c->set_shard_count(9); }, "shard_count");
  refused([](auto* c) { c->mutable_embedding()->set_model("models/m"); }, "embedding.model");
  refused([](auto* c) { c->mutable_embedding()->set_query_prompt("p"); }, "embedding.query_prompt");
  refused([](auto* c) { c->mutable_embedding()->set_document_prompt("p"); },
          "embedding.document_prompt");
  refused([](auto* c) { c->mutable_index_policy()->set_kind(v1::IndexPolicy::KIND_HNSW); },
          "index_policy.kind");
  refused([](auto* c) { c->mutable_index_policy()->mutable_parameters()->set_nlist(99); },
          "index_policy.parameters.nlist");
  refused([](auto* c) { c->mutable_index_policy()->mutable_parameters()->set_hnsw_m(8); },
          "index_policy.parameters.hnsw_m");
  refused([](auto* c) { c->mutable_chunking()->set_max_tokens(64); }, "chunking.max_tokens");
  refused([](auto* c) { c->mutable_chunking(); }, "chunking");
  // Output only: not looked at.
  v1::Collection other = Named();
  other.mutable_create_time()->set_seconds(5);
  other.mutable_embedding()->set_model_hash("ab");
  EXPECT_TRUE(Update(other, {"create_time", "embedding.model_hash", "etag", "name"}).ok());
}

TEST_F(CollectionUpdateTest, RefusesBadNamesAndMasks) {
  v1::UpdateCollectionRequest request;
  ExpectField(collections_.UpdateCollection(request, &reply_, context_), "collection");
  ExpectField(Update({}, {}), "collection.name");
  for (const char* const path :
       {"recall_target", "index_policy.", "index_policy.x", "", "migration.lag",
        "collection.index_policy", "index_policy.parameters.nprobe.x"}) {
    ExpectField(Update(Named(), {path}), "update_mask", "index_policy.recall_target");
  }
  ExpectField(Update(Named(), {"*", "index_policy"}), "update_mask", "its only path");
  v1::Collection missing;
  missing.set_name("collections/none");
  EXPECT_TRUE(absl::IsNotFound(Update(missing, {})));
  engine_.failure = absl::AbortedError("another etag");
  EXPECT_TRUE(absl::IsAborted(Update(Named(), {})));
  engine_.failure = absl::OkStatus();
  *request.mutable_collection() = Named();
  request.set_validate_only(true);
  ASSERT_TRUE(collections_.UpdateCollection(request, &reply_, context_).ok());
  EXPECT_TRUE(engine_.update.validate_only);
}

}  // namespace
}  // namespace vecino::rpc
