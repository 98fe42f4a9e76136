#include <cmath>

#include "server/rpc/admin_handlers.h"
#include "server/rpc/collection_handlers.h"
#include "server/rpc/document_handlers.h"
#include "server/rpc/embedding_handlers.h"
#include "server/rpc/methods.h"
#include "server/rpc/search_handlers.h"
#include "tests/server/rpc/expect_field.h"
#include "tests/server/rpc/fake_engine.h"

namespace vecino::rpc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

engine::CollectionInfo Info(const std::string& id) {
  engine::CollectionInfo info;
  info.spec.id = id;
  info.spec.dimension = 3;
  return info;
}

storage::Document Stored(const std::string& id, const std::string& text = "t") {
  storage::Document document;
  document.id = id;
  document.text = text;
  document.sequence = 9;
  return document;
}

class HandlersTest : public testing::Test {
 protected:
  HandlersTest() {
    engine_.write = [](size_t i, const engine::DocumentWrite&) {
      engine::WriteResult result;
      result.token = {1, 100 + i};
      result.token_count = 5;
      result.create_time_us = 1000000;
      result.update_time_us = 2000000;
      return result;
    };
    engine_.erase = [](const std::string& id) {
      engine::WriteResult result;
      if (id == "missing") result.status = absl::NotFoundError("gone");
      result.token = {0, 7};
      return result;
    };
  }

  FakeEngine engine_;
  engine::CallContext context_;
  CollectionHandlers collections_{&engine_};
  DocumentHandlers documents_{&engine_, 4 << 20};
  SearchHandlers search_{&engine_, 4 << 20};
  EmbeddingHandlers embedding_{&engine_, 4 << 20};
};

// --- collections

TEST_F(HandlersTest, CreateCollectionConverts) {
  v1::CreateCollectionRequest request;
  v1::CreateCollectionResponse response;
  request.set_collection_id("c");
  auto* collection = request.mutable_collection();
  collection->set_metric(v1::METRIC_L2);
  collection->mutable_embedding()->set_model("models/m");
  collection->set_shard_count(5);
  request.set_validate_only(true);
  ASSERT_TRUE(collections_.CreateCollection(request, &response, context_).ok());
  EXPECT_TRUE(engine_.validate_only);
  EXPECT_EQ(engine_.spec.id, "c");
  EXPECT_EQ(engine_.spec.model, "m");
  EXPECT_EQ(engine_.spec.shard_count, 5);
  EXPECT_EQ(engine_.spec.metric, engine::Metric::kL2);
  EXPECT_EQ(response.collection().name(), "collections/c");
  EXPECT_EQ(response.collection().embedding().model(), "models/m");
  EXPECT_EQ(response.collection().embedding().model_hash(), "abc");
  EXPECT_EQ(response.collection().index_policy().kind(), v1::IndexPolicy::KIND_FLAT);
  EXPECT_EQ(response.collection().create_time().seconds(), 1700000000);
  EXPECT_EQ(response.collection().etag(), "etag-1");
}

TEST_F(HandlersTest, CreateCollectionNamesEachBadField) {
  const auto create = [&](auto change) {
    v1::CreateCollectionRequest request;
    v1::CreateCollectionResponse response;
    request.set_collection_id("c");
    request.mutable_collection()->set_dimension(3);
    change(request);
    return collections_.CreateCollection(request, &response, context_);
  };
  ExpectField(create([](auto& r) { r.clear_collection_id(); }), "collection_id");
  ExpectField(create([](auto& r) { r.set_collection_id("Bad Id"); }), "collection_id", "Bad Id");
  ExpectField(create([](auto& r) { r.clear_collection(); }), "collection");
  ExpectField(create([](auto& r) { r.mutable_collection()->set_name("collections/d"); }),
              "collection.name");
  ExpectField(create([](auto& r) { r.mutable_collection()->set_dimension(0); }),
              "collection.dimension", "16384");
  ExpectField(create([](auto& r) { r.mutable_collection()->set_dimension(-1); }),
              "collection.dimension", "-1");
  ExpectField(create([](auto& r) { r.mutable_collection()->set_dimension(16385); }),
              "collection.dimension", "16385");
  ExpectField(
      create([](auto& r) { r.mutable_collection()->set_metric(static_cast<v1::Metric>(77)); }),
      "collection.metric", "77");
  ExpectField(create([](auto& r) { r.mutable_collection()->mutable_embedding()->set_model("m"); }),
              "collection.embedding.model", "models/{model}");
  ExpectField(create([](auto& r) { r.mutable_collection()->set_shard_count(65); }),
              "collection.shard_count", "64");
  ExpectField(create([](auto& r) { r.mutable_collection()->set_shard_count(-2); }),
              "collection.shard_count", "-2");
  ExpectField(create([](auto& r) {
                r.mutable_collection()->mutable_index_policy()->set_kind(
                    static_cast<v1::IndexPolicy::Kind>(40));
              }),
              "collection.index_policy.kind", "40");
}

TEST_F(HandlersTest, EngineStatusesPassThrough) {
  for (const auto code :
       {absl::StatusCode::kAlreadyExists, absl::StatusCode::kNotFound,
        absl::StatusCode::kUnavailable, absl::StatusCode::kResourceExhausted,
        absl::StatusCode::kDataLoss, absl::StatusCode::kAborted,
        absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kFailedPrecondition}) {
    engine_.failure = absl::Status(code, "why");
    v1::CreateCollectionRequest create;
    v1::CreateCollectionResponse created;
    create.set_collection_id("c");
    create.mutable_collection()->set_dimension(3);
    EXPECT_EQ(collections_.CreateCollection(create, &created, context_).code(), code);
    v1::SearchDocumentsRequest search;
    v1::SearchDocumentsResponse found;
    search.set_parent("collections/c");
    search.set_text("x");
    EXPECT_EQ(search_.SearchDocuments(search, &found, context_).code(), code);
    v1::CountDocumentsRequest count;
    v1::CountDocumentsResponse counted;
    count.set_parent("collections/c");
    EXPECT_EQ(documents_.CountDocuments(count, &counted, context_).code(), code);
    v1::BatchUpsertDocumentsRequest upsert;
    v1::BatchUpsertDocumentsResponse upserted;
    upsert.set_parent("collections/c");
    upsert.add_documents()->set_id("a");
    EXPECT_EQ(documents_.BatchUpsertDocuments(upsert, &upserted, context_).code(), code);
  }
}

TEST_F(HandlersTest, ListCollectionsPages) {
  for (const char* id : {"a", "b", "c", "d", "e"}) engine_.collections.push_back(Info(id));
  std::vector<std::string> seen;
  v1::ListCollectionsRequest request;
  request.set_page_size(2);
  int pages = 0;
  do {
    v1::ListCollectionsResponse response;
    ASSERT_TRUE(collections_.ListCollections(request, &response, context_).ok());
    for (const auto& collection : response.collections()) seen.push_back(collection.name());
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_THAT(seen, ElementsAre("collections/a", "collections/b", "collections/c", "collections/d",
                                "collections/e"));
  v1::ListCollectionsResponse response;
  request.set_page_token("x");
  ExpectField(collections_.ListCollections(request, &response, context_), "page_token");
  request.clear_page_token();
  request.set_page_size(-5);
  ExpectField(collections_.ListCollections(request, &response, context_), "page_size");
}

TEST_F(HandlersTest, GetAndDeleteCollection) {
  engine_.collections.push_back(Info("a"));
  v1::GetCollectionRequest get;
  v1::GetCollectionResponse got;
  get.set_name("collections/a");
  ASSERT_TRUE(collections_.GetCollection(get, &got, context_).ok());
  EXPECT_EQ(got.collection().dimension(), 3);
  EXPECT_FALSE(got.collection().has_embedding());
  get.set_name("collections/b");
  EXPECT_EQ(collections_.GetCollection(get, &got, context_).code(), absl::StatusCode::kNotFound);
  get.set_name("b");
  ExpectField(collections_.GetCollection(get, &got, context_), "name");

  v1::DeleteCollectionRequest erase;
  v1::DeleteCollectionResponse erased;
  ExpectField(collections_.DeleteCollection(erase, &erased, context_), "name");
  erase.set_name("collections/a");
  erase.set_etag("e");
  engine_.failure = absl::NotFoundError("none");
  EXPECT_EQ(collections_.DeleteCollection(erase, &erased, context_).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_.etag, "e");
  erase.set_allow_missing(true);
  EXPECT_TRUE(collections_.DeleteCollection(erase, &erased, context_).ok());
  engine_.failure = absl::AbortedError("etag");
  EXPECT_EQ(collections_.DeleteCollection(erase, &erased, context_).code(),
            absl::StatusCode::kAborted);
}

TEST_F(HandlersTest, StatsAreSummed) {
  engine_.stats.shards = {{.shard = 0,
                           .live_documents = 3,
                           .last_sequence = 5,
                           .tail_rows = 4,
                           .segments = 1,
                           .deleted_rows = 1,
                           .tail_bytes = 10,
                           .segment_bytes = 20},
                          {.shard = 1,
                           .live_documents = 7,
                           .last_sequence = 9,
                           .tail_rows = 6,
                           .segments = 2,
                           .deleted_rows = 2,
                           .tail_bytes = 30,
                           .segment_bytes = 40}};
  v1::GetCollectionStatsRequest request;
  v1::GetCollectionStatsResponse response;
  request.set_name("collections/c");
  ASSERT_TRUE(collections_.GetCollectionStats(request, &response, context_).ok());
  EXPECT_EQ(response.stats().live_documents(), 10);
  EXPECT_EQ(response.stats().deleted_rows(), 3);
  EXPECT_EQ(response.stats().segments(), 3);
  EXPECT_EQ(response.stats().tail_bytes(), 40);
  EXPECT_EQ(response.stats().segment_bytes(), 60);
  EXPECT_EQ(response.stats().shards(1).last_sequence_number(), 9);
}

// --- documents

TEST_F(HandlersTest, UpdateDocument) {
  v1::UpdateDocumentRequest request;
  v1::UpdateDocumentResponse response;
  ExpectField(documents_.UpdateDocument(request, &response, context_), "document");
  request.mutable_document()->set_id("a");
  ExpectField(documents_.UpdateDocument(request, &response, context_), "document.name");
  request.mutable_document()->set_name("collections/c/documents/a");
  request.set_truncate(static_cast<v1::TruncateMode>(5));
  ExpectField(documents_.UpdateDocument(request, &response, context_), "truncate");
  request.set_truncate(v1::TRUNCATE_MODE_ERROR);
  ASSERT_TRUE(documents_.UpdateDocument(request, &response, context_).ok());
  EXPECT_TRUE(engine_.writes[0].must_exist);
  EXPECT_EQ(engine_.truncate, engine::Truncate::kError);
  EXPECT_EQ(response.document().version(), 100);
  EXPECT_EQ(response.document().update_time().seconds(), 2);
  EXPECT_EQ(response.write_token().shard(), 1);
  EXPECT_EQ(response.token_count(), 5);
  request.set_allow_missing(true);
  ASSERT_TRUE(documents_.UpdateDocument(request, &response, context_).ok());
  EXPECT_FALSE(engine_.writes[0].must_exist);

  engine_.write = [](size_t, const auto&) {
    return engine::WriteResult{.status = engine::InvalidField("documents[0].vector", "bad")};
  };
  ExpectField(documents_.UpdateDocument(request, &response, context_), "document.vector", "bad");
}

TEST_F(HandlersTest, BatchUpsertReportsItemByItem) {
  v1::BatchUpsertDocumentsRequest request;
  v1::BatchUpsertDocumentsResponse response;
  request.set_parent("collections/c");
  ExpectField(documents_.BatchUpsertDocuments(request, &response, context_), "documents", "1000");
  request.add_documents()->set_id("a");
  request.add_documents();  // no id
  request.add_documents()->set_id("b");
  request.add_documents()->set_id("c");
  engine_.write = [](size_t i, const engine::DocumentWrite& write) {
    engine::WriteResult result;
    result.token = {0, 10 + i};
    // The engine sees it as its third.
    if (write.document.id == "c") {
      result.status = engine::InvalidField("documents[2].vector", "wrong dimension");
    }
    return result;
  };
  ASSERT_TRUE(documents_.BatchUpsertDocuments(request, &response, context_).ok());
  ASSERT_EQ(engine_.writes.size(), 3u);
  ASSERT_EQ(response.results_size(), 4);
  EXPECT_EQ(response.results(0).status().code(), 0);
  EXPECT_EQ(response.results(0).write_token().sequence_number(), 10);
  EXPECT_EQ(FieldIn(response.results(1).status()), "documents[1].id");
  EXPECT_FALSE(response.results(1).has_write_token());
  EXPECT_EQ(response.results(2).write_token().sequence_number(), 11);
  EXPECT_EQ(FieldIn(response.results(3).status()), "documents[3].vector");
  EXPECT_FALSE(response.results(3).has_write_token());

  for (int i = 0; i < 1000; ++i) request.add_documents()->set_id("x");
  ExpectField(documents_.BatchUpsertDocuments(request, &response, context_), "documents", "1004");
  request.set_parent("c");
  ExpectField(documents_.BatchUpsertDocuments(request, &response, context_), "parent");
}

TEST_F(HandlersTest, BatchOfOnlyBadDocumentsStillAsksForTheCollection) {
  v1::BatchUpsertDocumentsRequest request;
  v1::BatchUpsertDocumentsResponse response;
  request.set_parent("collections/none");
  request.add_documents();
  EXPECT_EQ(documents_.BatchUpsertDocuments(request, &response, context_).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(HandlersTest, GetDocuments) {
  engine_.documents["a"] = Stored("a", "hello");
  v1::GetDocumentRequest get;
  v1::GetDocumentResponse got;
  get.set_name("collections/c/documents/a");
  get.mutable_read_mask()->add_paths("vector");
  ASSERT_TRUE(documents_.GetDocument(get, &got, context_).ok());
  EXPECT_TRUE(engine_.parts.vector);
  EXPECT_FALSE(engine_.parts.text);
  EXPECT_EQ(got.document().version(), 9);
  get.mutable_read_mask()->add_paths("name");
  ExpectField(documents_.GetDocument(get, &got, context_), "read_mask", "name");
  get.clear_read_mask();
  get.set_name("collections/c/documents/zz");
  EXPECT_EQ(documents_.GetDocument(get, &got, context_).code(), absl::StatusCode::kNotFound);
  get.set_name("collections/c");
  ExpectField(documents_.GetDocument(get, &got, context_), "name");

  v1::BatchGetDocumentsRequest batch;
  v1::BatchGetDocumentsResponse out;
  batch.set_parent("collections/c");
  ExpectField(documents_.BatchGetDocuments(batch, &out, context_), "ids");
  for (const char* id : {"zz", "a", "yy"}) batch.add_ids(id);
  ASSERT_TRUE(documents_.BatchGetDocuments(batch, &out, context_).ok());
  EXPECT_EQ(out.documents_size(), 1);
  EXPECT_THAT(out.missing_ids(), ElementsAre("zz", "yy"));
  batch.add_ids("");
  ExpectField(documents_.BatchGetDocuments(batch, &out, context_), "ids[3]", "empty");
  for (int i = 0; i < 1000; ++i) batch.add_ids("x");
  ExpectField(documents_.BatchGetDocuments(batch, &out, context_), "ids", "1004");
}

TEST_F(HandlersTest, DeleteDocuments) {
  v1::DeleteDocumentRequest request;
  v1::DeleteDocumentResponse response;
  ExpectField(documents_.DeleteDocument(request, &response, context_), "name");
  request.set_name("collections/c/documents/missing");
  EXPECT_EQ(documents_.DeleteDocument(request, &response, context_).code(),
            absl::StatusCode::kNotFound);
  request.set_allow_missing(true);
  EXPECT_TRUE(documents_.DeleteDocument(request, &response, context_).ok());
  EXPECT_FALSE(response.has_write_token());
  request.set_name("collections/c/documents/there");
  ASSERT_TRUE(documents_.DeleteDocument(request, &response, context_).ok());
  EXPECT_EQ(response.write_token().sequence_number(), 7);

  v1::BatchDeleteDocumentsRequest batch;
  v1::BatchDeleteDocumentsResponse results;
  batch.set_parent("collections/c");
  ExpectField(documents_.BatchDeleteDocuments(batch, &results, context_), "ids");
  batch.add_ids("missing");
  batch.add_ids("there");
  ASSERT_TRUE(documents_.BatchDeleteDocuments(batch, &results, context_).ok());
  EXPECT_EQ(results.results(0).status().code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(results.results(1).status().code(), 0);
}

TEST_F(HandlersTest, ListDocumentsSeesEachOnceHoweverPagesAreCut) {
  engine_.collections = {Info("c")};
  // Twelve documents of half a megabyte of message: pages of ten would be over 3 MiB.
  const std::string text(400 << 10, 'x');
  for (int i = 0; i < 12; ++i) {
    const std::string id = "d" + std::to_string(10 + i);
    engine_.documents[id] = Stored(id, text);
    engine_.documents[id].metadata = "{\"l\":[1" + std::string(20000, '0') + "]}";
    engine_.documents[id].metadata = "{\"l\":[0";
    for (int j = 0; j < 20000; ++j) engine_.documents[id].metadata += ",0";
    engine_.documents[id].metadata += "]}";
  }
  v1::ListDocumentsRequest request;
  request.set_parent("collections/c");
  request.set_page_size(10);
  std::vector<std::string> seen;
  int pages = 0;
  do {
    v1::ListDocumentsResponse response;
    ASSERT_TRUE(documents_.ListDocuments(request, &response, context_).ok());
    EXPECT_LT(response.ByteSizeLong(), 4u << 20);
    for (const auto& document : response.documents()) seen.push_back(document.id());
    request.set_page_token(response.next_page_token());
    ASSERT_LE(++pages, 12);
  } while (!request.page_token().empty());
  ASSERT_EQ(seen.size(), 12u);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(seen[i], "d" + std::to_string(10 + i));
  EXPECT_GT(pages, 2);
}

TEST_F(HandlersTest, ListDocumentsBindsItsTokens) {
  engine_.documents["a"] = Stored("a");
  engine_.documents["b"] = Stored("b");
  engine_.collections = {Info("c"), Info("other")};
  engine_.collections[0].etag = "1-1";
  v1::ListDocumentsRequest request;
  v1::ListDocumentsResponse response;
  request.set_parent("collections/c");
  request.set_page_size(1);
  ASSERT_TRUE(documents_.ListDocuments(request, &response, context_).ok());
  ASSERT_FALSE(response.next_page_token().empty());
  request.set_page_token(response.next_page_token());
  request.set_parent("collections/other");
  ExpectField(documents_.ListDocuments(request, &response, context_), "page_token");
  request.set_parent("collections/c");
  EXPECT_TRUE(documents_.ListDocuments(request, &response, context_).ok());
  engine_.collections[0].etag = "2-1";  // deleted and made anew
  ExpectField(documents_.ListDocuments(request, &response, context_), "page_token");
  request.set_parent("collections/none");
  EXPECT_EQ(documents_.ListDocuments(request, &response, context_).code(),
            absl::StatusCode::kNotFound);
  request.set_parent("");
  ExpectField(documents_.ListDocuments(request, &response, context_), "parent");
}

// --- replies that are too large

// What a caller gets: the message, and whether it is told to try again.
void ExpectTooLarge(const absl::Status& status, const std::string& part) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  google::rpc::Status out;
  ToRpcStatus(status, &out);
  EXPECT_THAT(out.message(), HasSubstr(part));
  EXPECT_EQ(out.details_size(), 0);
}

TEST_F(HandlersTest, RepliesStopGrowingAtTheLimit) {
  for (const char* id : {"a", "b", "c", "d"}) {
    engine_.documents[id] = Stored(id, std::string(1000, 'x'));
    engine_.search_result.hits.push_back({engine_.documents[id], 0.5f});
  }
  DocumentHandlers documents(&engine_, 2500);
  v1::BatchGetDocumentsRequest batch;
  v1::BatchGetDocumentsResponse got;
  batch.set_parent("collections/c");
  for (const char* id : {"a", "b", "c", "d"}) batch.add_ids(id);
  const absl::Status status = documents.BatchGetDocuments(batch, &got, context_);
  ExpectTooLarge(status, "2500 bytes that a reply may have; 2 fitted");
  ExpectTooLarge(status, "ask for fewer ids, or name fewer fields in read_mask");
  EXPECT_EQ(got.documents_size(), 3);  // and no further
  EXPECT_EQ(engine_.max_bytes, 2500u);

  SearchHandlers search(&engine_, 2500);
  v1::SearchDocumentsRequest request;
  v1::SearchDocumentsResponse response;
  request.set_parent("collections/c");
  request.set_text("x");
  ExpectTooLarge(search.SearchDocuments(request, &response, context_), "lower top_k");
  EXPECT_EQ(response.hits_size(), 3);
  EXPECT_EQ(engine_.search.max_bytes, 2500u);
}

TEST_F(HandlersTest, TheEnginesLimitIsExplained) {
  engine_.failure = absl::ResourceExhaustedError("5 fitted");
  engine_.failure.SetPayload(std::string(engine::kOverBudgetPayload), absl::Cord());
  v1::GetDocumentRequest get;
  v1::GetDocumentResponse document;
  get.set_name("collections/c/documents/a");
  ExpectTooLarge(documents_.GetDocument(get, &document, context_),
                 "5 fitted (the limit is grpc.max-reply-bytes); name fewer fields in read_mask");
  v1::BatchGetDocumentsRequest batch;
  v1::BatchGetDocumentsResponse got;
  batch.set_parent("collections/c");
  batch.add_ids("a");
  ExpectTooLarge(documents_.BatchGetDocuments(batch, &got, context_), "ask for fewer ids");
  v1::SearchDocumentsRequest request;
  v1::SearchDocumentsResponse response;
  request.set_parent("collections/c");
  request.set_text("x");
  ExpectTooLarge(search_.SearchDocuments(request, &response, context_), "lower top_k");

  engine_.failure = absl::ResourceExhaustedError("queue full");  // worth another try
  google::rpc::Status out;
  ToRpcStatus(search_.SearchDocuments(request, &response, context_), &out);
  EXPECT_EQ(out.details_size(), 1);
}

// The methods outlive the call that made them, and so must the advice they give.
TEST_F(HandlersTest, AdviceOfTheMethodTableArrivesWhole) {
  WorkerPool workers(1, 1);
  Handlers handlers(&engine_, &workers, {}, 500);
  const MethodTable methods = handlers.Methods();
  const auto call = [&](const std::string& method, const google::protobuf::Message& request) {
    const grpc::Slice slice(request.SerializeAsString());
    grpc::ByteBuffer reply;
    return methods.at("/vecino.v1." + method)(grpc::ByteBuffer(&slice, 1), &reply, context_);
  };
  // The documents fit, but not together with what is around them.
  engine_.documents["a"] = Stored("a", std::string(440, 'x'));
  v1::BatchGetDocumentsRequest batch;
  batch.set_parent("collections/c");
  batch.add_ids("a");
  batch.add_ids(std::string(100, 'm'));
  v1::SearchDocumentsRequest search;
  search.set_parent("collections/c");
  search.set_text("x");
  engine_.search_result.hits.push_back({engine_.documents["a"], 0.5f});
  engine_.search_result.embed_time = engine_.search_result.search_time =
      engine_.search_result.fetch_time = absl::Hours(1) + absl::Nanoseconds(999999999);
  const std::string is = "(grpc.max-reply-bytes); ";
  ExpectTooLarge(call("DocumentService/BatchGetDocuments", batch),
                 is + "ask for fewer ids, or name fewer fields in read_mask");
  ExpectTooLarge(call("SearchService/SearchDocuments", search),
                 is + "lower top_k, or name fewer fields in read_mask");
  Handlers tight(&engine_, &workers, {}, 10);
  v1::GetCollectionRequest collection;
  collection.set_name("collections/c");
  engine_.collections = {Info("c")};
  const grpc::Slice slice(collection.SerializeAsString());
  grpc::ByteBuffer reply;
  ExpectTooLarge(tight.Methods().at("/vecino.v1.CollectionService/GetCollection")(
                     grpc::ByteBuffer(&slice, 1), &reply, context_),
                 is + "raise the limit in the server and in the client");
}

// --- search

TEST_F(HandlersTest, SearchConverts) {
  v1::SearchDocumentsRequest request;
  v1::SearchDocumentsResponse response;
  request.set_parent("collections/c");
  request.set_text("hello");
  request.set_truncate(v1::TRUNCATE_MODE_ERROR);
  request.add_write_tokens()->set_sequence_number(4);
  request.mutable_read_mask()->add_paths("id");
  engine_.search_result.hits.push_back({Stored("a"), 0.5f});
  engine_.search_result.metric = engine::Metric::kL2;
  engine_.search_result.query_token_count = 12;
  engine_.search_result.query_truncated = true;
  engine_.search_result.embed_time = absl::Milliseconds(3);
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_EQ(engine_.search.top_k, 10);
  EXPECT_EQ(std::get<engine::TextQuery>(engine_.search.query).truncate, engine::Truncate::kError);
  EXPECT_EQ(engine_.search.tokens[0].sequence, 4u);
  EXPECT_FALSE(engine_.search.parts.text);
  EXPECT_EQ(response.hits(0).document().id(), "a");
  EXPECT_EQ(response.hits(0).score(), 0.5f);
  EXPECT_EQ(response.metric(), v1::METRIC_L2);
  EXPECT_FALSE(response.higher_is_better());
  EXPECT_EQ(response.query_token_count(), 12);
  EXPECT_TRUE(response.query_truncated());
  EXPECT_EQ(response.timings().embed().nanos(), 3000000);

  request.mutable_vector()->add_values(1);
  request.set_top_k(1000);
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_EQ(engine_.search.top_k, 1000);
  EXPECT_EQ(std::get<engine::VectorQuery>(engine_.search.query).vector.size(), 1u);
  request.set_document_id("d");
  ASSERT_TRUE(search_.SearchDocuments(request, &response, context_).ok());
  EXPECT_EQ(std::get<engine::DocumentQuery>(engine_.search.query).id, "d");
}

TEST_F(HandlersTest, SearchNamesEachBadField) {
  const auto search = [&](auto change) {
    v1::SearchDocumentsRequest request;
    v1::SearchDocumentsResponse response;
    request.set_parent("collections/c");
    request.set_text("x");
    change(request);
    return search_.SearchDocuments(request, &response, context_);
  };
  ExpectField(search([](auto& r) { r.clear_parent(); }), "parent");
  ExpectField(search([](auto& r) { r.clear_query(); }), "query");
  ExpectField(search([](auto& r) { r.set_text(""); }), "text");
  ExpectField(search([](auto& r) { r.set_text(std::string((1 << 20) + 1, 'x')); }), "text");
  ExpectField(search([](auto& r) { r.mutable_vector(); }), "vector");
  ExpectField(search([](auto& r) { r.mutable_vector()->add_values(NAN); }), "vector", "nan");
  ExpectField(search([](auto& r) { r.set_document_id(""); }), "document_id");
  ExpectField(search([](auto& r) { r.set_top_k(0); }), "top_k", "1 to 1000");
  ExpectField(search([](auto& r) { r.set_top_k(-1); }), "top_k");
  ExpectField(search([](auto& r) { r.set_top_k(1001); }), "top_k", "1001");
  ExpectField(search([](auto& r) { r.mutable_read_mask()->add_paths("score"); }), "read_mask");
  ExpectField(search([](auto& r) { r.add_write_tokens()->set_shard(-1); }),
              "write_tokens[0].shard");
  ExpectField(search([](auto& r) { r.set_truncate(static_cast<v1::TruncateMode>(8)); }),
              "truncate");
}

// --- embedding

TEST_F(HandlersTest, EmbedText) {
  encoder::ModelInfo model;
  model.name = "m";
  model.dimension = 384;
  engine_.models = {model};
  encoder::EmbedResult one;
  one.vector = {1, 2};
  one.token_count = 4;
  one.truncated = true;
  engine_.embeddings = {one};
  v1::EmbedTextRequest request;
  v1::EmbedTextResponse response;
  ExpectField(embedding_.EmbedText(request, &response, context_), "texts");
  request.add_texts("hello");
  request.set_input_type(v1::INPUT_TYPE_QUERY);
  ASSERT_TRUE(embedding_.EmbedText(request, &response, context_).ok());
  EXPECT_EQ(engine_.model, "");
  EXPECT_EQ(engine_.input_type, encoder::InputType::kQuery);
  EXPECT_EQ(response.model(), "models/m");
  EXPECT_EQ(response.embeddings(0).vector().values_size(), 2);
  EXPECT_TRUE(response.embeddings(0).truncated());

  request.set_model("m");
  ExpectField(embedding_.EmbedText(request, &response, context_), "model");
  request.set_model("models/m");
  request.set_input_type(static_cast<v1::InputType>(6));
  ExpectField(embedding_.EmbedText(request, &response, context_), "input_type");
  request.clear_input_type();
  request.set_truncate(static_cast<v1::TruncateMode>(6));
  ExpectField(embedding_.EmbedText(request, &response, context_), "truncate");
  request.clear_truncate();
  request.add_texts(std::string((1 << 20) + 1, 'x'));
  ExpectField(embedding_.EmbedText(request, &response, context_), "texts[1]");
  request.mutable_texts()->RemoveLast();
  engine_.embeddings[0].status = absl::InvalidArgumentError("300 tokens; the window is 256");
  ExpectField(embedding_.EmbedText(request, &response, context_), "texts[0]", "256");

  EmbeddingHandlers tight(&engine_, 64 << 10);
  for (int i = 0; i < 100; ++i) request.add_texts("x");
  ExpectField(tight.EmbedText(request, &response, context_), "texts", "at most 41");
}

TEST_F(HandlersTest, Models) {
  encoder::ModelInfo model;
  model.name = "m";
  model.max_tokens = 256;
  engine_.models = {model};
  v1::ListModelsResponse list;
  ASSERT_TRUE(embedding_.ListModels({}, &list, context_).ok());
  EXPECT_EQ(list.models(0).name(), "models/m");
  v1::GetModelRequest request;
  v1::GetModelResponse response;
  request.set_name("models/m");
  ASSERT_TRUE(embedding_.GetModel(request, &response, context_).ok());
  EXPECT_EQ(response.model().max_tokens(), 256);
  request.set_name("models/other");
  const absl::Status status = embedding_.GetModel(request, &response, context_);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("models/m"));
  request.set_name("/etc/passwd");
  ExpectField(embedding_.GetModel(request, &response, context_), "name");
}

// --- admin

TEST_F(HandlersTest, ServerStatus) {
  WorkerPool workers(3, 17);
  engine_.collections = {Info("a"), Info("b")};
  engine_.documents["x"] = Stored("x");
  engine_.encoder_stats.executors = 2;
  AdminHandlers admin(&engine_, &workers, {.version = "9", .data_dir = "d", .cpu = "c"});
  v1::GetServerStatusResponse response;
  ASSERT_TRUE(admin.GetServerStatus({}, &response, context_).ok());
  EXPECT_EQ(response.version(), "9");
  EXPECT_EQ(response.collections(), 2);
  EXPECT_EQ(response.documents(), 2);
  EXPECT_EQ(response.workers(), 3);
  EXPECT_EQ(response.queue_capacity(), 17);
  EXPECT_EQ(response.encoder_executors(), 2);
  EXPECT_GT(response.resident_bytes(), 1 << 20);
}

}  // namespace
}  // namespace vecino::rpc
