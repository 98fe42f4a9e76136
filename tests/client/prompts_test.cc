// Names of prompts on their way to the server and back.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <tuple>

#include "tests/client/fake_server.h"
#include "vecino/client.h"

namespace vecino {
namespace {

class PromptServer : public testing::FakeServer {
 public:
  grpc::Status EmbedText(grpc::ServerContext*, const v1::EmbedTextRequest* request,
                         v1::EmbedTextResponse* response) override {
    embed = *request;
    response->add_embeddings()->mutable_vector()->add_values(1);
    return grpc::Status::OK;
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    v1::Model* model = response->add_models();
    model->set_query_prompt("q: ");
    (*model->mutable_prompts())["query"] = "q: ";
    (*model->mutable_prompts())["clustering"] = "c: ";
    return grpc::Status::OK;
  }
  grpc::Status MigrateEmbeddings(grpc::ServerContext*, const v1::MigrateEmbeddingsRequest* request,
                                 google::longrunning::Operation*) override {
    migrate = *request;
    return grpc::Status::OK;
  }

  v1::EmbedTextRequest embed;
  v1::MigrateEmbeddingsRequest migrate;
};

class PromptsTest : public ::testing::Test {
 protected:
  PromptServer server_;
  Client client_{{.server = server_.address(),
                  .timeout = std::chrono::seconds(20),
                  .initial_backoff = std::chrono::milliseconds(1)}};
};

TEST_F(PromptsTest, OfACollectionTravelBothWays) {
  const auto made = client_.CreateCollection(
      {.id = "c", .model = "m", .query_prompt = "ask", .document_prompt = "passage"});
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(made->model, "m");
  EXPECT_EQ(made->query_prompt, "ask");
  EXPECT_EQ(made->document_prompt, "passage");
  const auto read = client_.GetCollection("c");
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->query_prompt, "ask");
  EXPECT_EQ(read->document_prompt, "passage");
  const int calls = server_.Calls("CreateCollection");
  EXPECT_EQ(
      client_.CreateCollection({.id = "d", .model = "m", .query_prompt = "\xff"}).status().field(),
      "collection.embedding.query_prompt");
  EXPECT_EQ(client_.CreateCollection({.id = "d", .model = "m", .document_prompt = "\xff"})
                .status()
                .field(),
            "collection.embedding.document_prompt");
  EXPECT_EQ(server_.Calls("CreateCollection"), calls);
}

TEST_F(PromptsTest, ACollectionWithOthersIsSomebodyElses) {
  const auto create = [&](const std::string& query, const std::string& document) {
    return client_.CreateCollection(
        {.id = "c", .model = "m", .query_prompt = query, .document_prompt = document});
  };
  server_.LoseReplies(1);
  ASSERT_TRUE(create("ask", "passage").ok()) << "its reply was lost, and it is there";
  const grpc::Status unavailable(grpc::StatusCode::UNAVAILABLE, "again");
  for (const auto& [query, document, mine] : {std::tuple("ask", "passage", true),
                                              {"", "", true},
                                              {"query", "", false},
                                              {"ask", "document", false}}) {
    server_.FailNext(unavailable);
    EXPECT_EQ(create(query, document).ok(), mine) << query << document;
  }
}

TEST_F(PromptsTest, OfAMigrationAreSent) {
  ASSERT_TRUE(client_
                  .MigrateEmbeddings(
                      "c", {.model = "m", .query_prompt = "ask", .document_prompt = "passage"})
                  .ok());
  EXPECT_EQ(server_.migrate.embedding().model(), "models/m");
  EXPECT_EQ(server_.migrate.embedding().query_prompt(), "ask");
  EXPECT_EQ(server_.migrate.embedding().document_prompt(), "passage");
  EXPECT_EQ(client_.MigrateEmbeddings("c", {.model = "m", .query_prompt = "\xff"}).status().field(),
            "embedding.query_prompt");
}

TEST_F(PromptsTest, AModelListsThemAndAnEmbedTakesOne) {
  const auto models = client_.ListModels();
  ASSERT_TRUE(models.ok()) << models.status().ToString();
  EXPECT_EQ(models->at(0).prompts,
            (std::map<std::string, std::string>{{"clustering", "c: "}, {"query", "q: "}}));
  EXPECT_EQ(models->at(0).query_prompt, "q: ");
  ASSERT_TRUE(
      client_.Embed("m", {"text"}, InputType::kQuery, Truncate::kAuto, nullptr, "clustering").ok());
  EXPECT_EQ(server_.embed.prompt(), "clustering");
  EXPECT_EQ(server_.embed.input_type(), v1::INPUT_TYPE_QUERY);
  ASSERT_TRUE(client_.Embed("m", {"text"}).ok());
  EXPECT_EQ(server_.embed.prompt(), "");
  EXPECT_EQ(client_.Embed("m", {"text"}, InputType::kQuery, Truncate::kAuto, nullptr, "\xff")
                .status()
                .field(),
            "prompt");
}

}  // namespace
}  // namespace vecino
