// What a caller does on a good day, against the real binary with the real model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <cstring>
#include <set>

#include "tests/integration/server_process.h"
#include "tests/server/rpc/health_client.h"

namespace vecino {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kParent[] = "collections/c";

class ServerTest : public testing::Test {
 protected:
  void Start(const std::string& model_root = "") {
    server_ =
        std::make_unique<ServerProcess>(folder_.path(), std::vector<std::string>{}, model_root);
    ASSERT_TRUE(server_->WaitUntilServing()) << server_->log();
    stubs_ = std::make_unique<Stubs>(server_->Connect());
  }

  void Create(int dimension, const std::string& model, v1::Metric metric = v1::METRIC_COSINE) {
    v1::CreateCollectionRequest request;
    request.set_collection_id("c");
    request.mutable_collection()->set_dimension(dimension);
    request.mutable_collection()->set_metric(metric);
    if (!model.empty()) {
      request.mutable_collection()->mutable_embedding()->set_model("models/" + model);
    }
    v1::CreateCollectionResponse response;
    const grpc::Status status = Call(
        *stubs_->collections, &v1::CollectionService::Stub::CreateCollection, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  std::vector<std::string> Search(v1::SearchDocumentsRequest request,
                                  v1::SearchDocumentsResponse* response) {
    request.set_parent(kParent);
    const grpc::Status status =
        Call(*stubs_->search, &v1::SearchService::Stub::SearchDocuments, request, response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::vector<std::string> ids;
    for (const auto& hit : response->hits()) ids.push_back(hit.document().id());
    return ids;
  }

  TemporaryFolder folder_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<Stubs> stubs_;
};

TEST_F(ServerTest, VectorsFromCreateToDelete) {
  ASSERT_NO_FATAL_FAILURE(Start());
  Create(4, "", v1::METRIC_L2);
  v1::BatchUpsertDocumentsRequest upsert;
  v1::BatchUpsertDocumentsResponse upserted;
  upsert.set_parent(kParent);
  for (int i = 0; i < 50; ++i) {
    auto* document = upsert.add_documents();
    document->set_id("d" + std::to_string(i));
    document->set_text("number " + std::to_string(i));
    (*document->mutable_metadata()->mutable_fields())["n"].set_number_value(i);
    const float values[4] = {static_cast<float>(i), 1, 2, 3};
    if (i % 2 == 0) {
      document->mutable_vector()->mutable_values()->Add(values, values + 4);
    } else {
      document->mutable_vector()->set_float32_le(values, sizeof values);
    }
  }
  ASSERT_TRUE(
      Call(*stubs_->documents, &v1::DocumentService::Stub::BatchUpsertDocuments, upsert, &upserted)
          .ok());
  ASSERT_EQ(upserted.results_size(), 50);
  for (const auto& result : upserted.results()) {
    EXPECT_EQ(result.status().code(), 0) << result.status().message();
    EXPECT_GT(result.write_token().sequence_number(), 0);
  }

  v1::SearchDocumentsRequest search;
  v1::SearchDocumentsResponse found;
  for (float value : {20.2f, 1.0f, 2.0f, 3.0f}) search.mutable_vector()->add_values(value);
  search.set_top_k(3);
  *search.add_write_tokens() = upserted.results(20).write_token();
  EXPECT_THAT(Search(search, &found), ElementsAre("d20", "d21", "d19"));
  EXPECT_FALSE(found.higher_is_better());
  EXPECT_NEAR(found.hits(0).score(), 0.04, 1e-4);
  EXPECT_EQ(found.hits(0).document().text(), "number 20");
  EXPECT_EQ(found.hits(0).document().metadata().fields().at("n").number_value(), 20);
  EXPECT_FALSE(found.hits(0).document().has_vector());
  search.set_document_id("d5");
  search.mutable_read_mask()->add_paths("vector");
  search.clear_write_tokens();
  search.set_top_k(2);
  const auto neighbours = Search(search, &found);
  EXPECT_EQ(std::set<std::string>(neighbours.begin(), neighbours.end()),
            (std::set<std::string>{"d4", "d6"}));
  EXPECT_EQ(found.hits(0).document().text(), "");
  EXPECT_EQ(found.hits(0).document().vector().values_size(), 4);

  v1::ListDocumentsRequest list;
  list.set_parent(kParent);
  list.set_page_size(7);
  std::set<std::string> seen;
  int listed = 0;
  do {
    v1::ListDocumentsResponse page;
    ASSERT_TRUE(
        Call(*stubs_->documents, &v1::DocumentService::Stub::ListDocuments, list, &page).ok());
    EXPECT_LE(page.documents_size(), 7);
    for (const auto& document : page.documents()) seen.insert(document.id());
    listed += page.documents_size();
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_EQ(listed, 50);
  EXPECT_EQ(seen.size(), 50u);

  v1::BatchDeleteDocumentsRequest erase;
  v1::BatchDeleteDocumentsResponse erased;
  erase.set_parent(kParent);
  for (const char* id : {"d20", "none", "d21"}) erase.add_ids(id);
  ASSERT_TRUE(
      Call(*stubs_->documents, &v1::DocumentService::Stub::BatchDeleteDocuments, erase, &erased)
          .ok());
  EXPECT_EQ(erased.results(0).status().code(), 0);
  EXPECT_EQ(erased.results(1).status().code(), grpc::StatusCode::NOT_FOUND);
  v1::BatchGetDocumentsRequest get;
  v1::BatchGetDocumentsResponse got;
  get.set_parent(kParent);
  for (const char* id : {"d20", "d22"}) get.add_ids(id);
  ASSERT_TRUE(
      Call(*stubs_->documents, &v1::DocumentService::Stub::BatchGetDocuments, get, &got).ok());
  EXPECT_THAT(got.missing_ids(), ElementsAre("d20"));
  EXPECT_EQ(got.documents(0).id(), "d22");
  v1::CountDocumentsRequest count;
  v1::CountDocumentsResponse counted;
  count.set_parent(kParent);
  ASSERT_TRUE(
      Call(*stubs_->documents, &v1::DocumentService::Stub::CountDocuments, count, &counted).ok());
  EXPECT_EQ(counted.count(), 48);
  v1::GetCollectionStatsRequest stats;
  v1::GetCollectionStatsResponse figures;
  stats.set_name(kParent);
  ASSERT_TRUE(
      Call(*stubs_->collections, &v1::CollectionService::Stub::GetCollectionStats, stats, &figures)
          .ok());
  EXPECT_EQ(figures.stats().live_documents(), 48);
  EXPECT_EQ(figures.stats().shards_size(), 2);

  v1::DeleteCollectionRequest drop;
  v1::DeleteCollectionResponse dropped;
  drop.set_name(kParent);
  drop.set_etag("not this one");
  EXPECT_EQ(
      Call(*stubs_->collections, &v1::CollectionService::Stub::DeleteCollection, drop, &dropped)
          .error_code(),
      grpc::StatusCode::ABORTED);
  drop.clear_etag();
  ASSERT_TRUE(
      Call(*stubs_->collections, &v1::CollectionService::Stub::DeleteCollection, drop, &dropped)
          .ok());
  v1::ListCollectionsResponse rest;
  ASSERT_TRUE(Call(*stubs_->collections, &v1::CollectionService::Stub::ListCollections,
                   v1::ListCollectionsRequest(), &rest)
                  .ok());
  EXPECT_EQ(rest.collections_size(), 0);
}

TEST_F(ServerTest, TextIsFoundByMeaning) {
  const std::string models = RealModelRoot();
  if (models.empty()) GTEST_SKIP() << "no model; deploy/run fetches it";
  ASSERT_NO_FATAL_FAILURE(Start(models));
  Create(0, "all-MiniLM-L6-v2");
  const std::pair<const char*, const char*> texts[] = {
      {"gnuchess", "Plays a game of chess, either against the user or against itself"},
      {"kdenlive", "non-linear video editor"},
      {"arachnophobia", "an abnormal fear of spiders"},
      {"bash", "GNU Bourne Again SHell"}};
  for (const auto& [id, text] : texts) {
    v1::UpdateDocumentRequest request;
    v1::UpdateDocumentResponse response;
    request.mutable_document()->set_name(std::string("collections/c/documents/") + id);
    request.mutable_document()->set_text(text);
    EXPECT_EQ(
        Call(*stubs_->documents, &v1::DocumentService::Stub::UpdateDocument, request, &response)
            .error_code(),
        grpc::StatusCode::NOT_FOUND);  // allow_missing is off
    request.set_allow_missing(true);
    const grpc::Status status =
        Call(*stubs_->documents, &v1::DocumentService::Stub::UpdateDocument, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_GT(response.token_count(), 3);
    EXPECT_FALSE(response.truncated());
  }
  v1::SearchDocumentsRequest search;
  v1::SearchDocumentsResponse found;
  search.set_text("play chess against the computer");
  EXPECT_EQ(Search(search, &found)[0], "gnuchess");
  EXPECT_TRUE(found.higher_is_better());
  EXPECT_GT(found.query_token_count(), 3);
  EXPECT_GT(found.timings().embed().nanos(), 0);
  search.set_text("cut a film");
  EXPECT_EQ(Search(search, &found)[0], "kdenlive");

  v1::EmbedTextRequest embed;
  v1::EmbedTextResponse embedded;
  embed.add_texts("play chess against the computer");
  std::string longer;
  for (int i = 0; i < 400; ++i) longer += "word ";
  embed.add_texts(longer);
  ASSERT_TRUE(
      Call(*stubs_->embedding, &v1::EmbeddingService::Stub::EmbedText, embed, &embedded).ok());
  ASSERT_EQ(embedded.embeddings_size(), 2);
  EXPECT_FALSE(embedded.embeddings(0).truncated());
  EXPECT_TRUE(embedded.embeddings(1).truncated());
  double length = 0;
  for (float value : embedded.embeddings(0).vector().values()) length += value * value;
  EXPECT_NEAR(length, 1, 1e-4);
  *search.mutable_vector() = embedded.embeddings(0).vector();
  EXPECT_EQ(Search(search, &found)[0], "gnuchess");
  embed.set_truncate(v1::TRUNCATE_MODE_ERROR);
  const grpc::Status refused =
      Call(*stubs_->embedding, &v1::EmbeddingService::Stub::EmbedText, embed, &embedded);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(refused), "texts[1]");

  v1::ListModelsResponse listed;
  ASSERT_TRUE(Call(*stubs_->embedding, &v1::EmbeddingService::Stub::ListModels,
                   v1::ListModelsRequest(), &listed)
                  .ok());
  // Once in each precision.
  ASSERT_EQ(listed.models_size(), 3);
  EXPECT_EQ(listed.models(0).name(), "models/all-MiniLM-L6-v2");
  EXPECT_EQ(listed.models(2).name(), "models/all-MiniLM-L6-v2@int8");
  EXPECT_EQ(listed.models(0).dimension(), 384);
  EXPECT_EQ(listed.models(0).model_hash().size(), 64u);
}

TEST_F(ServerTest, OperatorsSeeWhatRuns) {
  ASSERT_NO_FATAL_FAILURE(Start());
  Create(2, "");
  v1::GetServerStatusResponse status;
  ASSERT_TRUE(Call(*stubs_->admin, &v1::AdminService::Stub::GetServerStatus,
                   v1::GetServerStatusRequest(), &status)
                  .ok());
  EXPECT_EQ(status.collections(), 1);
  EXPECT_EQ(status.data_dir(), folder_.path() + "/data");
  EXPECT_GT(status.resident_bytes(), 1 << 20);
  EXPECT_THAT(status.cpu(), HasSubstr("OpenBLAS kernels"));
  EXPECT_GT(status.encoder_queue_capacity_tokens(), 0);

  int code = 0;
  const std::string metrics = HttpGet(server_->admin_port(), "/metrics", &code);
  EXPECT_EQ(code, 200);
  EXPECT_THAT(metrics, HasSubstr("vecino_rpc_calls_total{code=\"OK\",method=\"/vecino.v1."
                                 "CollectionService/CreateCollection\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("vecino_collections 1"));
  EXPECT_THAT(metrics, HasSubstr("vecino_encoder_queued_tokens 0"));
  HttpGet(server_->admin_port(), "/healthz", &code);
  EXPECT_EQ(code, 200);
  HttpGet(server_->admin_port(), "/readyz", &code);
  EXPECT_EQ(code, 200);

  // ServerReflectionRequest{list_services: "*"}
  rpc::ByteStream reflection(stubs_->channel,
                             "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                             "\x3a\x01*");
  const std::optional<std::string> services = reflection.Next();
  ASSERT_TRUE(services.has_value());
  for (const char* name : {"CollectionService", "DocumentService", "SearchService",
                           "EmbeddingService", "AdminService"}) {
    EXPECT_THAT(*services, HasSubstr(std::string("vecino.v1.") + name));
  }
  // It listens on loopback.
  EXPECT_THAT(*services, HasSubstr("grpc.channelz.v1.Channelz"));
}

}  // namespace
}  // namespace vecino
