#include <cmath>

#include "server/rpc/methods.h"
#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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

// One document of a chunked collection may be larger than any reply; smaller pages do not help.
TEST_F(HandlersTest, APageOfOneDocumentThatDoesNotFitNamesTheMask) {
  engine_.collections = {Info("c")};
  engine_.documents["a"] = Stored("a");
  for (uint32_t i = 0; i < 2000; ++i) engine_.documents["a"].passages.push_back({i, i + 1});
  engine_.documents["a"].vector.assign(2000 * 768, 1);  // 6 MiB
  v1::ListDocumentsRequest request;
  v1::ListDocumentsResponse response;
  request.set_parent("collections/c");
  request.set_page_size(1);
  request.mutable_read_mask()->add_paths("vector");
  ExpectTooLarge(documents_.ListDocuments(request, &response, context_),
                 "(the limit is grpc.max-reply-bytes); name fewer fields in read_mask");
  engine_.documents["a"].vector.resize(2000 * 384);  // 3 MiB
  EXPECT_TRUE(documents_.ListDocuments(request, &response, context_).ok());
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
  engine_.timings = {.tokenize = absl::Milliseconds(3),
                     .queue = absl::Microseconds(20),
                     .compute = absl::Seconds(2)};
  v1::EmbedTextRequest request;
  v1::EmbedTextResponse response;
  ExpectField(embedding_.EmbedText(request, &response, context_), "texts");
  request.add_texts("hello");
  request.set_input_type(v1::INPUT_TYPE_QUERY);
  request.set_prompt("clustering");
  ASSERT_TRUE(embedding_.EmbedText(request, &response, context_).ok());
  EXPECT_EQ(engine_.model, "");
  EXPECT_EQ(engine_.prompt, "clustering");
  EXPECT_EQ(engine_.input_type, encoder::InputType::kQuery);
  EXPECT_EQ(response.model(), "models/m");
  EXPECT_EQ(response.embeddings(0).vector().values_size(), 2);
  EXPECT_TRUE(response.embeddings(0).truncated());
  EXPECT_EQ(response.timings().tokenize().nanos(), 3000000);
  EXPECT_EQ(response.timings().queue().nanos(), 20000);
  EXPECT_EQ(response.timings().compute().seconds(), 2);

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

TEST_F(HandlersTest, EmbedTextInOtherForms) {
  encoder::ModelInfo model;
  model.name = "m";
  model.dimension = 4;
  engine_.models = {model};
  encoder::EmbedResult one, zero;
  one.vector = {0.6f, -0.3f, 0.5f, 0.1f};
  zero.vector = {0, 0, 1, 0};
  engine_.embeddings = {one, zero};
  v1::EmbedTextRequest request;
  request.add_texts("a");
  request.add_texts("b");
  request.set_dimensions(2);
  v1::EmbedTextResponse response;
  ASSERT_TRUE(embedding_.EmbedText(request, &response, context_).ok());
  EXPECT_EQ(engine_.dimensions, 2) << "the encoder cuts";

  request.set_dimensions(0);
  request.set_output_type(v1::OUTPUT_TYPE_INT8);
  response.Clear();
  ASSERT_TRUE(embedding_.EmbedText(request, &response, context_).ok());
  EXPECT_FALSE(response.embeddings(0).has_vector());
  const std::string& bytes = response.embeddings(0).int8_values();
  ASSERT_EQ(bytes.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(response.embeddings(0).int8_scale() * static_cast<int8_t>(bytes[i]), one.vector[i],
                0.6f / 254 + 1e-6);
  }
  EXPECT_EQ(static_cast<int8_t>(bytes[0]), 127);

  for (const int bad : {-1, 5}) {
    request.set_dimensions(bad);
    ExpectField(embedding_.EmbedText(request, &response, context_), "dimensions", "makes 4");
  }
  request.set_dimensions(4);
  EXPECT_TRUE(embedding_.EmbedText(request, &response, context_).ok());
  request.set_output_type(static_cast<v1::OutputType>(9));
  ExpectField(embedding_.EmbedText(request, &response, context_), "output_type");
}

TEST_F(HandlersTest, Models) {
  encoder::ModelInfo model;
  model.name = "m";
  model.max_tokens = 256;
  model.prompts = {{"clustering", {.text = "c: ", .tokens = 4}},
                   {"document", {.text = "d: ", .tokens = 4}},
                   {"query", {.text = "q: ", .tokens = 4}}};
  engine_.models = {model};
  v1::ListModelsResponse list;
  ASSERT_TRUE(embedding_.ListModels({}, &list, context_).ok());
  EXPECT_EQ(list.models(0).name(), "models/m");
  v1::GetModelRequest request;
  v1::GetModelResponse response;
  request.set_name("models/m");
  ASSERT_TRUE(embedding_.GetModel(request, &response, context_).ok());
  EXPECT_EQ(response.model().max_tokens(), 256);
  EXPECT_EQ(response.model().query_prompt(), "q: ");
  EXPECT_EQ(response.model().document_prompt(), "d: ");
  EXPECT_EQ(response.model().prompts_size(), 3);
  EXPECT_EQ(response.model().prompts().at("clustering"), "c: ");
  EXPECT_EQ(response.model().prompts().at("query"), "q: ");
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
