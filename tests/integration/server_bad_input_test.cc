// What bad input gets: for every kind of it the code and the field, and that nothing was written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/integration/server_process.h"
#include "tests/server/rpc/health_client.h"

namespace vecino {
namespace {

using testing::HasSubstr;

// One server for all of these tests, with the real model where there is one.
class ServerBadInputTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder();
    model_root_ = new std::string(RealModelRoot());
    server_ = new ServerProcess(folder_->path(), {}, *model_root_);
    ASSERT_TRUE(server_->WaitUntilServing()) << server_->log();
    stubs_ = new Stubs(server_->Connect());
    v1::CreateCollectionRequest request;
    v1::CreateCollectionResponse response;
    request.set_collection_id("v");
    request.mutable_collection()->set_dimension(3);
    ASSERT_TRUE(Call(*stubs_->collections, &v1::CollectionService::Stub::CreateCollection, request,
                     &response)
                    .ok());
  }
  static void TearDownTestSuite() {
    delete stubs_;
    delete server_;
    delete folder_;
    delete model_root_;
  }

  static void Expect(const grpc::Status& status, grpc::StatusCode code, const std::string& field,
                     const std::string& part) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_EQ(FieldOf(status), field) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(part));
  }

  static grpc::Status Create(const std::function<void(v1::CreateCollectionRequest&)>& change) {
    v1::CreateCollectionRequest request;
    v1::CreateCollectionResponse response;
    request.set_collection_id("new");
    request.mutable_collection()->set_dimension(3);
    change(request);
    return Call(*stubs_->collections, &v1::CollectionService::Stub::CreateCollection, request,
                &response);
  }

  static v1::Document Good(const std::string& id) {
    v1::Document document;
    document.set_id(id);
    for (int i = 0; i < 3; ++i) document.mutable_vector()->add_values(1);
    return document;
  }

  // The status of a bad document between two good ones, which must be written.
  static google::rpc::Status Upsert(const std::function<void(v1::Document&)>& change) {
    v1::BatchUpsertDocumentsRequest request;
    v1::BatchUpsertDocumentsResponse response;
    request.set_parent("collections/v");
    *request.add_documents() = Good("before");
    *request.add_documents() = Good("bad");
    *request.add_documents() = Good("after");
    change(*request.mutable_documents(1));
    const grpc::Status status = Call(
        *stubs_->documents, &v1::DocumentService::Stub::BatchUpsertDocuments, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    if (response.results_size() != 3) {
      ADD_FAILURE() << response.results_size() << " results";
      return {};
    }
    EXPECT_EQ(response.results(0).status().code(), 0);
    EXPECT_EQ(response.results(2).status().code(), 0);
    v1::CountDocumentsRequest count;
    v1::CountDocumentsResponse counted;
    count.set_parent("collections/v");
    EXPECT_TRUE(
        Call(*stubs_->documents, &v1::DocumentService::Stub::CountDocuments, count, &counted).ok());
    EXPECT_EQ(counted.count(), 2) << "the bad one was written";
    return response.results(1).status();
  }
  static void ExpectBadItem(const google::rpc::Status& status, const std::string& field,
                            const std::string& part) {
    EXPECT_EQ(status.code(), grpc::StatusCode::INVALID_ARGUMENT) << status.message();
    EXPECT_EQ(FieldOf(status), field) << status.message();
    EXPECT_THAT(status.message(), HasSubstr(part));
  }

  static grpc::Status Search(const std::function<void(v1::SearchDocumentsRequest&)>& change) {
    v1::SearchDocumentsRequest request;
    v1::SearchDocumentsResponse response;
    request.set_parent("collections/v");
    for (int i = 0; i < 3; ++i) request.mutable_vector()->add_values(1);
    change(request);
    return Call(*stubs_->search, &v1::SearchService::Stub::SearchDocuments, request, &response);
  }

  static TemporaryFolder* folder_;
  static std::string* model_root_;
  static ServerProcess* server_;
  static Stubs* stubs_;
};
TemporaryFolder* ServerBadInputTest::folder_ = nullptr;
std::string* ServerBadInputTest::model_root_ = nullptr;
ServerProcess* ServerBadInputTest::server_ = nullptr;
Stubs* ServerBadInputTest::stubs_ = nullptr;

constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;

TEST_F(ServerBadInputTest, Collections) {
  Expect(Create([](auto& r) { r.set_collection_id("Has Space"); }), kInvalid, "collection_id",
         "a-z");
  Expect(Create([](auto& r) { r.mutable_collection()->set_dimension(0); }), kInvalid,
         "collection.dimension", "16384");
  Expect(Create([](auto& r) { r.mutable_collection()->set_dimension(99999); }), kInvalid,
         "collection.dimension", "99999");
  Expect(Create([](auto& r) { r.mutable_collection()->set_shard_count(1000); }), kInvalid,
         "collection.shard_count", "64");
  Expect(Create([](auto& r) {
           r.mutable_collection()->mutable_embedding()->set_model("models/unknown");
         }),
         grpc::StatusCode::NOT_FOUND, "", "unknown");
  Expect(Create([](auto& r) { r.set_collection_id("v"); }), grpc::StatusCode::ALREADY_EXISTS, "",
         "v");
  if (!model_root_->empty()) {
    Expect(Create([](auto& r) {
             r.mutable_collection()->mutable_embedding()->set_model("models/all-MiniLM-L6-v2");
           }),
           kInvalid, "collection.dimension", "384");
  }
}

TEST_F(ServerBadInputTest, Vectors) {
  ExpectBadItem(Upsert([](auto& d) { d.mutable_vector()->add_values(1); }), "documents[1].vector",
                "3");
  ExpectBadItem(Upsert([](auto& d) { d.mutable_vector()->set_values(1, NAN); }),
                "documents[1].vector", "nan");
  ExpectBadItem(Upsert([](auto& d) {
                  d.mutable_vector()->set_values(2, std::numeric_limits<float>::infinity());
                }),
                "documents[1].vector", "inf");
  ExpectBadItem(Upsert([](auto& d) {
                  for (int i = 0; i < 3; ++i) d.mutable_vector()->set_values(i, 0);
                }),
                "documents[1].vector", "zero");
  ExpectBadItem(Upsert([](auto& d) { d.mutable_vector()->set_float32_le("abcd"); }),
                "documents[1].vector", "both");
  ExpectBadItem(Upsert([](auto& d) {
                  d.mutable_vector()->clear_values();
                  d.mutable_vector()->set_float32_le("abcde");
                }),
                "documents[1].vector.float32_le", "5");
}

TEST_F(ServerBadInputTest, Documents) {
  ExpectBadItem(Upsert([](auto& d) { d.clear_id(); }), "documents[1].id", "empty");
  ExpectBadItem(Upsert([](auto& d) { d.set_id(std::string(513, 'x')); }), "documents[1].id", "512");
  ExpectBadItem(Upsert([](auto& d) { d.set_text(std::string((1 << 20) + 1, 'x')); }),
                "documents[1].text", "1048576");
  ExpectBadItem(
      Upsert([](auto& d) {
        (*d.mutable_metadata()->mutable_fields())["k"].set_string_value(std::string(70000, 'x'));
      }),
      "documents[1].metadata", "65536");
  ExpectBadItem(Upsert([](auto& d) {
                  auto* at = d.mutable_metadata();
                  for (int i = 0; i < 32; ++i) {
                    at = (*at->mutable_fields())["k"].mutable_struct_value();
                  }
                }),
                "documents[1].metadata", "32");
}

TEST_F(ServerBadInputTest, TextThatIsNotUtf8) {
  // BatchUpsertDocumentsRequest with a document whose text is one byte FF.
  const std::string bytes =
      "\x0a\x0d"
      "collections/v"
      "\x12\x06"
      "\x12\x01"
      "b"
      "\x1a\x01"
      "\xff";
  std::string reply;
  Expect(rpc::CallBytes(stubs_->channel, "/vecino.v1.DocumentService/BatchUpsertDocuments", bytes,
                        &reply),
         kInvalid, "documents[0].text", "UTF-8");
  Expect(rpc::CallBytes(stubs_->channel, "/vecino.v1.EmbeddingService/EmbedText",
                        "\x12\x02"
                        "ok"
                        "\x12\x02"
                        "\xc3\x28",
                        &reply),
         kInvalid, "texts[1]", "UTF-8");
}

TEST_F(ServerBadInputTest, Batches) {
  v1::BatchUpsertDocumentsRequest request;
  v1::BatchUpsertDocumentsResponse response;
  request.set_parent("collections/v");
  const auto upsert = [&] {
    return Call(*stubs_->documents, &v1::DocumentService::Stub::BatchUpsertDocuments, request,
                &response);
  };
  Expect(upsert(), kInvalid, "documents", "1000");
  for (int i = 0; i < 1001; ++i) *request.add_documents() = Good(std::to_string(i));
  Expect(upsert(), kInvalid, "documents", "1001");
  request.set_parent("collections/none");
  request.mutable_documents()->DeleteSubrange(1, 1000);
  Expect(upsert(), grpc::StatusCode::NOT_FOUND, "", "none");
  request.set_parent("none");
  Expect(upsert(), kInvalid, "parent", "collections/{collection}");
  request.set_parent("collections/v");
  request.mutable_documents(0)->set_text(std::string(17 << 20, 'x'));
  EXPECT_EQ(upsert().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);

  v1::EmbedTextRequest embed;
  v1::EmbedTextResponse embedded;
  for (int i = 0; i < 1001; ++i) embed.add_texts("x");
  Expect(Call(*stubs_->embedding, &v1::EmbeddingService::Stub::EmbedText, embed, &embedded),
         kInvalid, "texts", "1001");
  embed.mutable_texts()->DeleteSubrange(1, 1000);
  embed.set_model("models/unknown");
  Expect(Call(*stubs_->embedding, &v1::EmbeddingService::Stub::EmbedText, embed, &embedded),
         grpc::StatusCode::NOT_FOUND, "", "unknown");
}

TEST_F(ServerBadInputTest, Searches) {
  Expect(Search([](auto& r) { r.set_top_k(0); }), kInvalid, "top_k", "1 to 1000");
  Expect(Search([](auto& r) { r.set_top_k(1001); }), kInvalid, "top_k", "1001");
  Expect(Search([](auto& r) { r.mutable_vector()->add_values(1); }), kInvalid, "vector", "3");
  Expect(Search([](auto& r) { r.mutable_vector()->set_values(0, NAN); }), kInvalid, "vector",
         "nan");
  Expect(Search([](auto& r) {
           for (int i = 0; i < 3; ++i) r.mutable_vector()->set_values(i, 0);
         }),
         kInvalid, "vector", "zero");
  Expect(Search([](auto& r) { r.clear_query(); }), kInvalid, "query", "text");
  Expect(Search([](auto& r) { r.set_text(""); }), kInvalid, "text", "empty");
  Expect(Search([](auto& r) { r.set_text("x"); }), grpc::StatusCode::FAILED_PRECONDITION, "",
         "model");
  Expect(Search([](auto& r) { r.set_document_id("none"); }), grpc::StatusCode::NOT_FOUND, "",
         "none");
  Expect(Search([](auto& r) { r.set_parent("collections/none"); }), grpc::StatusCode::NOT_FOUND, "",
         "none");
  Expect(Search([](auto& r) { r.mutable_read_mask()->add_paths("embedding"); }), kInvalid,
         "read_mask", "embedding");
  Expect(Search([](auto& r) { r.add_write_tokens()->set_shard(5); }), kInvalid,
         "write_tokens[0].shard", "5");
}

TEST_F(ServerBadInputTest, PagesAndNames) {
  v1::ListDocumentsRequest list;
  v1::ListDocumentsResponse page;
  list.set_parent("collections/v");
  list.set_page_token("AAAA");
  const auto call = [&] {
    return Call(*stubs_->documents, &v1::DocumentService::Stub::ListDocuments, list, &page);
  };
  Expect(call(), kInvalid, "page_token", "again");
  list.clear_page_token();
  list.set_page_size(-1);
  Expect(call(), kInvalid, "page_size", "-1");
  v1::GetModelRequest model;
  v1::GetModelResponse got;
  model.set_name("models/../../etc");
  Expect(Call(*stubs_->embedding, &v1::EmbeddingService::Stub::GetModel, model, &got),
         grpc::StatusCode::NOT_FOUND, "", "");
}

TEST_F(ServerBadInputTest, GarbageIsAnsweredAndForgotten) {
  std::string reply;
  for (const char* path :
       {"/vecino.v1.SearchService/SearchDocuments", "/vecino.v1.DocumentService/UpdateDocument",
        "/vecino.v1.CollectionService/CreateCollection"}) {
    EXPECT_EQ(rpc::CallBytes(stubs_->channel, path, std::string(100, '\xff'), &reply).error_code(),
              kInvalid);
  }
  EXPECT_EQ(rpc::CheckHealth(stubs_->channel, ""), rpc::kServing);
}

}  // namespace
}  // namespace vecino
