#include <cmath>

#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// --- collections

TEST_F(HandlersTest, CreateCollectionConverts) {
  v1::CreateCollectionRequest request;
  v1::CreateCollectionResponse response;
  request.set_collection_id("c");
  auto* collection = request.mutable_collection();
  collection->set_metric(v1::METRIC_L2);
  collection->mutable_embedding()->set_model("models/m");
  collection->mutable_embedding()->set_query_prompt("ask");
  collection->mutable_embedding()->set_document_prompt("passage");
  collection->set_shard_count(5);
  request.set_validate_only(true);
  ASSERT_TRUE(collections_.CreateCollection(request, &response, context_).ok());
  EXPECT_TRUE(engine_.validate_only);
  EXPECT_EQ(engine_.spec.id, "c");
  EXPECT_EQ(engine_.spec.model, "m");
  EXPECT_EQ(engine_.spec.prompts, (engine::PromptNames{"ask", "passage"}));
  EXPECT_EQ(engine_.spec.shard_count, 5);
  EXPECT_EQ(engine_.spec.metric, engine::Metric::kL2);
  EXPECT_EQ(response.collection().name(), "collections/c");
  EXPECT_EQ(response.collection().embedding().model(), "models/m");
  EXPECT_EQ(response.collection().embedding().model_hash(), "abc");
  EXPECT_EQ(response.collection().embedding().query_prompt(), "ask");
  EXPECT_EQ(response.collection().embedding().document_prompt(), "passage");
  EXPECT_EQ(response.collection().index_policy().kind(), v1::IndexPolicy::KIND_AUTO);
  EXPECT_EQ(response.collection().index_policy().recall_target(), 0.95);
  EXPECT_TRUE(response.collection().index_policy().parameters().graph());
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
                           .waiting_tails = 2,
                           .index_lag = absl::Milliseconds(1500),
                           .segments = 1,
                           .deleted_rows = 1,
                           .tail_bytes = 10,
                           .segment_bytes = 20,
                           .field_bytes = 7},
                          {.shard = 1,
                           .live_documents = 7,
                           .last_sequence = 9,
                           .tail_rows = 6,
                           .waiting_tails = 1,
                           .index_lag = absl::Milliseconds(500),
                           .segments = 2,
                           .deleted_rows = 2,
                           .tail_bytes = 30,
                           .segment_bytes = 40,
                           .field_bytes = 8}};
  v1::GetCollectionStatsRequest request;
  v1::GetCollectionStatsResponse response;
  request.set_name("collections/c");
  ASSERT_TRUE(collections_.GetCollectionStats(request, &response, context_).ok());
  EXPECT_EQ(response.stats().live_documents(), 10);
  EXPECT_EQ(response.stats().deleted_rows(), 3);
  EXPECT_EQ(response.stats().segments(), 3);
  EXPECT_EQ(response.stats().tail_bytes(), 40);
  EXPECT_EQ(response.stats().segment_bytes(), 60);
  EXPECT_EQ(response.stats().field_bytes(), 15);
  EXPECT_EQ(response.stats().shards(1).field_bytes(), 8);
  EXPECT_EQ(response.stats().shards(1).last_sequence_number(), 9);
  EXPECT_EQ(response.stats().waiting_tails(), 3);
  EXPECT_EQ(response.stats().shards(0).waiting_tails(), 2);
  // Of lags the longest counts.
  EXPECT_EQ(response.stats().index_lag().seconds(), 1);
  EXPECT_EQ(response.stats().index_lag().nanos(), 500'000'000);
  EXPECT_EQ(response.stats().shards(1).index_lag().seconds(), 0);
  EXPECT_EQ(response.stats().shards(1).index_lag().nanos(), 500'000'000);
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
  EXPECT_EQ(engine_.writes[0].mode, engine::WriteMode::kReplace);
  EXPECT_EQ(engine_.truncate, engine::Truncate::kError);
  EXPECT_EQ(response.document().version(), 100);
  EXPECT_EQ(response.document().update_time().seconds(), 2);
  EXPECT_EQ(response.write_token().shard(), 1);
  EXPECT_EQ(response.token_count(), 5);
  request.set_allow_missing(true);
  ASSERT_TRUE(documents_.UpdateDocument(request, &response, context_).ok());
  EXPECT_EQ(engine_.writes[0].mode, engine::WriteMode::kUpsert);

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

  // Ids at fault go to the engine, which gives each its status.
  const auto there = engine_.erase;
  engine_.erase = [&](const std::string& id) {
    if (!id.empty()) return there(id);
    engine::WriteResult result;
    result.status = engine::InvalidField("ids[2]", "is empty");
    return result;
  };
  batch.add_ids("");
  results.Clear();
  ASSERT_TRUE(documents_.BatchDeleteDocuments(batch, &results, context_).ok());
  EXPECT_THAT(engine_.ids, ElementsAre("missing", "there", ""));
  EXPECT_EQ(results.results(1).status().code(), 0);
  EXPECT_EQ(results.results(2).status().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(results.results(2).status().details_size(), 1);
  for (int i = 0; i < 1000; ++i) batch.add_ids("x");
  ExpectField(documents_.BatchDeleteDocuments(batch, &results, context_), "ids", "1003");
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

}  // namespace
}  // namespace vecino::rpc
