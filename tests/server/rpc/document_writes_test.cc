// CreateDocument, write modes, etags, masks and expire times, as handlers see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

class DocumentWritesTest : public HandlersTest {
 protected:
  DocumentWritesTest() { engine_.collections = {Info("c")}; }

  v1::UpdateDocumentRequest Update(const std::vector<std::string>& paths) {
    v1::UpdateDocumentRequest request;
    request.mutable_document()->set_name("collections/c/documents/a");
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    return request;
  }
  absl::Status Call(const v1::UpdateDocumentRequest& request) {
    response_.Clear();
    return documents_.UpdateDocument(request, &response_, context_);
  }

  v1::UpdateDocumentResponse response_;
};

TEST_F(DocumentWritesTest, CreateDocument) {
  v1::CreateDocumentRequest request;
  v1::CreateDocumentResponse response;
  request.set_parent("collections/c");
  ExpectField(documents_.CreateDocument(request, &response, context_), "document");
  request.mutable_document();
  ExpectField(documents_.CreateDocument(request, &response, context_), "document.id");
  request.mutable_document()->set_id("a");
  request.mutable_document()->set_etag("not looked at");
  request.set_truncate(v1::TRUNCATE_MODE_ERROR);
  engine_.write = [](size_t, const engine::DocumentWrite&) {
    return engine::WriteResult{
        .token = {1, 0x1f}, .expire_time_us = 3'000'000, .uid = 10, .token_count = 5};
  };
  ASSERT_TRUE(documents_.CreateDocument(request, &response, context_).ok());
  EXPECT_EQ(engine_.writes[0].mode, engine::WriteMode::kInsert);
  EXPECT_EQ(engine_.writes[0].etag, "");
  EXPECT_EQ(engine_.truncate, engine::Truncate::kError);
  EXPECT_EQ(response.document().name(), "collections/c/documents/a");
  EXPECT_EQ(response.document().etag(), "a-1f");
  EXPECT_EQ(response.document().expire_time().seconds(), 3);
  EXPECT_EQ(response.token_count(), 5);
  engine_.write = [](size_t, const auto&) {
    return engine::WriteResult{.status = absl::AlreadyExistsError("there")};
  };
  EXPECT_EQ(documents_.CreateDocument(request, &response, context_).code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(DocumentWritesTest, WriteModesOfABatch) {
  v1::BatchUpsertDocumentsRequest request;
  v1::BatchUpsertDocumentsResponse response;
  request.set_parent("collections/c");
  request.add_documents()->set_id("a");
  const std::pair<v1::WriteMode, engine::WriteMode> modes[] = {
      {v1::WRITE_MODE_UNSPECIFIED, engine::WriteMode::kUpsert},
      {v1::WRITE_MODE_UPSERT, engine::WriteMode::kUpsert},
      {v1::WRITE_MODE_INSERT, engine::WriteMode::kInsert},
      {v1::WRITE_MODE_REPLACE, engine::WriteMode::kReplace}};
  for (const auto& [mode, expected] : modes) {
    request.set_write_mode(mode);
    ASSERT_TRUE(documents_.BatchUpsertDocuments(request, &response, context_).ok());
    EXPECT_EQ(engine_.writes[0].mode, expected);
  }
  request.set_write_mode(static_cast<v1::WriteMode>(9));
  ExpectField(documents_.BatchUpsertDocuments(request, &response, context_), "write_mode", "9");
}

constexpr char kRequestId[] = "3f8e0c52-9d4b-4c6e-8a1f-52b7d0e4a913";

TEST_F(DocumentWritesTest, ARepeatedBatchIsWrittenOnce) {
  v1::BatchUpsertDocumentsRequest request;
  v1::BatchUpsertDocumentsResponse first, repeat;
  request.set_parent("collections/c");
  request.add_documents()->set_id("a");
  request.add_documents()->set_id("");  // at fault, in the repeat as well
  request.set_write_mode(v1::WRITE_MODE_INSERT);
  request.set_request_id("no uuid");
  ExpectField(documents_.BatchUpsertDocuments(request, &first, context_), "request_id", "no uuid");
  request.set_request_id(kRequestId);
  int done = 0;
  engine_.write = [&](size_t, const engine::DocumentWrite&) {
    if (++done == 1) return engine::WriteResult{.token = {1, 5}, .token_count = 3};
    return engine::WriteResult{.status = absl::AlreadyExistsError("there")};
  };
  ASSERT_TRUE(documents_.BatchUpsertDocuments(request, &first, context_).ok());
  EXPECT_EQ(first.results(0).write_token().sequence_number(), 5);
  EXPECT_EQ(first.results(1).status().code(), 3);
  ASSERT_TRUE(documents_.BatchUpsertDocuments(request, &repeat, context_).ok());
  EXPECT_EQ(repeat.SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(done, 1);

  request.mutable_documents(0)->set_text("other");
  ExpectField(documents_.BatchUpsertDocuments(request, &repeat, context_), "request_id", "another");
  v1::BatchDeleteDocumentsRequest erase;
  v1::BatchDeleteDocumentsResponse erased;
  erase.set_parent("collections/c");
  erase.add_ids("a");
  erase.set_request_id(kRequestId);
  ExpectField(documents_.BatchDeleteDocuments(erase, &erased, context_), "request_id", "another");
  EXPECT_EQ(done, 1);
  // A collection that was made anew under the name knows nothing of it; nor does one without.
  engine_.collections[0].create_time += absl::Seconds(1);
  ASSERT_TRUE(documents_.BatchUpsertDocuments(request, &repeat, context_).ok());
  EXPECT_EQ(done, 2);
  engine_.collections.clear();
  EXPECT_TRUE(absl::IsNotFound(documents_.BatchUpsertDocuments(request, &repeat, context_)));
}

TEST_F(DocumentWritesTest, ARepeatedBatchOfDeletesIsDoneOnce) {
  v1::BatchDeleteDocumentsRequest request;
  v1::BatchDeleteDocumentsResponse response;
  request.set_parent("collections/c");
  int done = 0;
  engine_.erase = [&](const std::string&) {
    if (++done == 1) return engine::WriteResult{.token = {0, 7}};
    return engine::WriteResult{.status = absl::NotFoundError("gone")};
  };
  request.set_request_id(kRequestId);
  // What is refused as a whole is not remembered.
  ExpectField(documents_.BatchDeleteDocuments(request, &response, context_), "ids");
  request.add_ids("a");
  for (int attempt = 0; attempt < 2; ++attempt) {
    response.Clear();
    ASSERT_TRUE(documents_.BatchDeleteDocuments(request, &response, context_).ok());
    ASSERT_EQ(response.results_size(), 1);
    EXPECT_EQ(response.results(0).status().code(), 0);
    EXPECT_EQ(response.results(0).write_token().sequence_number(), 7);
  }
  EXPECT_EQ(done, 1);
  request.clear_request_id();
  response.Clear();
  ASSERT_TRUE(documents_.BatchDeleteDocuments(request, &response, context_).ok());
  EXPECT_EQ(response.results(0).status().code(), 5);
}

TEST_F(DocumentWritesTest, EtagOfAWholeUpdateGoesToTheEngine) {
  v1::UpdateDocumentRequest request = Update({"*"});
  request.mutable_document()->set_etag("1-2");
  ASSERT_TRUE(Call(request).ok());
  EXPECT_EQ(engine_.writes[0].etag, "1-2");
  EXPECT_EQ(engine_.writes[0].mode, engine::WriteMode::kReplace);
}

TEST_F(DocumentWritesTest, MaskedUpdate) {
  ExpectField(Call(Update({"nothing"})), "update_mask", "nothing");
  v1::UpdateDocumentRequest request = Update({"text"});
  request.mutable_document()->set_text("new");
  EXPECT_EQ(Call(request).code(), absl::StatusCode::kNotFound);
  request.set_allow_missing(true);
  ASSERT_TRUE(Call(request).ok());
  EXPECT_EQ(engine_.writes[0].document.text, "new");
  EXPECT_EQ(response_.document().version(), 100);

  storage::Document stored = Stored("a", "old");
  stored.uid = 10;
  stored.vector = {1, 2, 3};
  engine_.documents["a"] = stored;
  ASSERT_TRUE(Call(request).ok());
  EXPECT_EQ(engine_.writes[0].document.vector, stored.vector);  // the collection has no model
  engine_.collections[0].spec.model = "m";
  ASSERT_TRUE(Call(request).ok());
  EXPECT_TRUE(engine_.writes[0].document.vector.empty());

  engine_.write = [](size_t, const auto&) {
    return engine::WriteResult{.status = engine::InvalidField("documents[0].text", "bad")};
  };
  ExpectField(Call(request), "document.text", "bad");
  engine_.collections.clear();
  EXPECT_EQ(Call(request).code(), absl::StatusCode::kNotFound);
}

TEST_F(DocumentWritesTest, MaskedUpdateWithAnEtag) {
  storage::Document stored = Stored("a", "old");
  stored.uid = 10;
  engine_.documents["a"] = stored;  // a-9
  v1::UpdateDocumentRequest request = Update({"text"});
  request.mutable_document()->set_etag("a-8");
  const absl::Status stale = Call(request);
  EXPECT_EQ(stale.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(stale.message()), HasSubstr("`a-9`, not `a-8`"));
  request.mutable_document()->set_etag("a-9");
  EXPECT_TRUE(Call(request).ok());
  engine_.documents.clear();
  EXPECT_EQ(Call(request).code(), absl::StatusCode::kNotFound);
  request.set_allow_missing(true);
  EXPECT_EQ(Call(request).code(), absl::StatusCode::kAborted);
}

TEST_F(DocumentWritesTest, DeleteWithAnEtag) {
  v1::DeleteDocumentRequest request;
  v1::DeleteDocumentResponse response;
  request.set_name("collections/c/documents/a");
  request.set_etag("a-9");
  ASSERT_TRUE(documents_.DeleteDocument(request, &response, context_).ok());
  EXPECT_EQ(engine_.etag, "a-9");
  EXPECT_EQ(response.write_token().sequence_number(), 7);
  engine_.erase = [](const std::string&) {
    return engine::WriteResult{.status = absl::AbortedError("other")};
  };
  request.set_allow_missing(true);
  EXPECT_EQ(documents_.DeleteDocument(request, &response, context_).code(),
            absl::StatusCode::kAborted);
  engine_.erase = [](const std::string&) {
    return engine::WriteResult{.status = absl::NotFoundError("gone")};
  };
  EXPECT_TRUE(documents_.DeleteDocument(request, &response, context_).ok());
}

TEST_F(DocumentWritesTest, ExpireTimes) {
  v1::UpdateDocumentRequest request = Update({});
  v1::Document& document = *request.mutable_document();
  document.mutable_ttl()->set_seconds(90);
  ASSERT_TRUE(Call(request).ok());
  EXPECT_EQ(engine_.writes[0].ttl_us, 90'000'000);
  document.mutable_ttl()->set_seconds(0);
  document.mutable_ttl()->set_nanos(1);  // rounded up, so that it is not "none"
  ASSERT_TRUE(Call(request).ok());
  EXPECT_EQ(engine_.writes[0].ttl_us, 1);
  document.mutable_ttl()->set_nanos(0);
  ExpectField(Call(request), "document.ttl", "more than 0");
  document.mutable_ttl()->set_seconds(-5);
  ExpectField(Call(request), "document.ttl");
  document.mutable_expire_time()->set_seconds(2'000'000'000);
  ExpectField(Call(request), "document.ttl", "beside expire_time");
  document.clear_ttl();
  ASSERT_TRUE(Call(request).ok());
  EXPECT_EQ(engine_.writes[0].document.expire_time_us, 2'000'000'000'000'000);
  for (const int64_t seconds : {int64_t{0}, int64_t{-1}, int64_t{253'402'300'800}}) {
    document.mutable_expire_time()->set_seconds(seconds);
    ExpectField(Call(request), "document.expire_time");
  }
}

TEST_F(DocumentWritesTest, ReadsTellEtagAndExpireTime) {
  storage::Document stored = Stored("a");
  stored.uid = 255;
  stored.expire_time_us = 5'000'001;
  engine_.documents["a"] = stored;
  engine_.documents["b"] = Stored("b");
  v1::BatchGetDocumentsRequest request;
  v1::BatchGetDocumentsResponse response;
  request.set_parent("collections/c");
  request.add_ids("a");
  request.add_ids("b");
  ASSERT_TRUE(documents_.BatchGetDocuments(request, &response, context_).ok());
  EXPECT_EQ(response.documents(0).etag(), "ff-9");
  EXPECT_EQ(response.documents(0).expire_time().seconds(), 5);
  EXPECT_EQ(response.documents(0).expire_time().nanos(), 1000);
  EXPECT_FALSE(response.documents(1).has_expire_time());
}

}  // namespace
}  // namespace vecino::rpc
