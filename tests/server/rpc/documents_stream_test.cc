#include "server/rpc/documents_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

class DocumentsStreamTest : public HandlersTest {
 protected:
  DocumentsStreamTest() {
    engine_.collections = {Info("c"), Info("d")};
    engine_.collections[0].etag = "1";
    request_.set_parent("collections/c");
  }

  absl::StatusOr<std::unique_ptr<MessageStream>> Open() {
    return documents_.StreamDocuments(request_, context_);
  }
  struct Read {
    std::vector<v1::StreamDocumentsResponse> messages;
    std::vector<std::string> ids;
    absl::Status status;
  };
  Read ReadAll() {
    Read read;
    auto stream = Open();
    read.status = stream.status();
    if (!stream.ok()) return read;
    grpc::ByteBuffer buffer;
    while (true) {
      const absl::StatusOr<bool> more = (*stream)->Next(&buffer);
      read.status = more.status();
      if (!more.ok() || !*more) return read;
      v1::StreamDocumentsResponse& message = read.messages.emplace_back();
      EXPECT_TRUE(ReadMessage(buffer, &message).ok());
      EXPECT_TRUE(buffer.Length() <= kMaxStreamMessageBytes || message.documents_size() == 1)
          << buffer.Length();
      for (const v1::Document& document : message.documents()) read.ids.push_back(document.id());
    }
  }

  v1::StreamDocumentsRequest request_;
};

TEST_F(DocumentsStreamTest, MessagesAreFullAndGoOnFromEachToken) {
  for (int i = 0; i < 40; ++i) {
    const std::string id = std::to_string(1000 + i);
    engine_.documents[id] = Stored(id, std::string(100'000, 'x'));
  }
  const Read all = ReadAll();
  ASSERT_TRUE(all.status.ok()) << all.status;
  ASSERT_EQ(all.ids.size(), 40u);
  ASSERT_EQ(all.messages.size(), 4u);  // of ten
  EXPECT_EQ(all.messages[0].documents(0).name(), "collections/c/documents/1000");
  for (const auto& message : all.messages) {
    request_.set_resume_token(message.resume_token());
    const Read rest = ReadAll();
    const std::string& last = message.documents(message.documents_size() - 1).id();
    EXPECT_EQ(rest.ids, std::vector<std::string>(
                            std::upper_bound(all.ids.begin(), all.ids.end(), last), all.ids.end()));
  }
}

TEST_F(DocumentsStreamTest, OneThatIsLargerThanAMessageGoesAlone) {
  engine_.documents["a"] = Stored("a");
  engine_.documents["b"] = Stored("b", std::string(1 << 20, 'x'));
  engine_.documents["b"].vector.assign(16384, 1);
  engine_.documents["c"] = Stored("c");
  request_.mutable_read_mask()->add_paths("text");
  request_.mutable_read_mask()->add_paths("vector");
  const Read all = ReadAll();
  ASSERT_TRUE(all.status.ok()) << all.status;
  EXPECT_EQ(all.ids, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(all.messages.size(), 3u);
  EXPECT_EQ(all.messages[1].documents(0).vector().values_size(), 16384);
  EXPECT_TRUE(engine_.stream_request.parts.vector);
  EXPECT_FALSE(engine_.stream_request.parts.metadata);
}

// A chunked collection's document has a vector a passage.
TEST_F(DocumentsStreamTest, VectorsOfPassagesComeAsFarAsTheyFitIntoAReply) {
  constexpr size_t kDimension = 384;
  const auto add = [&](const std::string& id, uint32_t passages) {
    storage::Document& document = engine_.documents[id] = Stored(id, std::string(650 << 10, 'x'));
    for (uint32_t i = 0; i < passages; ++i) document.passages.push_back({i * 100, i * 100 + 110});
    document.vector.assign(passages * kDimension, 1);
  };
  add("a", 1600);  // 3 MiB with its vectors
  add("b", 4096);  // 7 MiB
  engine_.documents["c"] = Stored("c");
  request_.mutable_read_mask()->add_paths("text");
  request_.mutable_read_mask()->add_paths("vector");
  const Read all = ReadAll();
  ASSERT_TRUE(all.status.ok()) << all.status;
  EXPECT_EQ(all.ids, (std::vector<std::string>{"a", "b", "c"}));
  const v1::Document& a = all.messages[0].documents(0);
  EXPECT_GT(a.ByteSizeLong(), 3u << 20);
  ASSERT_EQ(a.passages_size(), 1600);
  EXPECT_EQ(a.passages(1599).vector().values_size(), static_cast<int>(kDimension));
  const v1::Document& b = all.messages[1].documents(0);
  ASSERT_EQ(b.passages_size(), 4096);
  EXPECT_EQ(b.passages(4095).end(), 4095 * 100 + 110);
  for (const v1::Passage& passage : b.passages()) EXPECT_FALSE(passage.has_vector());
  request_.set_resume_token(all.messages[0].resume_token());
  EXPECT_EQ(ReadAll().ids, (std::vector<std::string>{"b", "c"}));
}

TEST_F(DocumentsStreamTest, NothingIsNoMessage) {
  const Read none = ReadAll();
  EXPECT_TRUE(none.status.ok());
  EXPECT_TRUE(none.messages.empty());
}

TEST_F(DocumentsStreamTest, ATokenIsForItsCollectionFilterAndSlice) {
  engine_.documents["a"] = Stored("a");
  request_.mutable_slice()->set_index(1);
  request_.mutable_slice()->set_total(3);
  const Read all = ReadAll();
  ASSERT_EQ(all.messages.size(), 1u);
  EXPECT_EQ(engine_.stream_request.slice.index, 1);
  EXPECT_EQ(engine_.stream_request.slice.total, 3);
  const std::string token = all.messages[0].resume_token();
  request_.set_resume_token(token);
  EXPECT_TRUE(Open().ok());
  EXPECT_EQ(engine_.stream_request.after_id, "a");
  request_.mutable_slice()->set_index(2);
  ExpectField(Open().status(), "resume_token");
  request_.clear_slice();
  ExpectField(Open().status(), "resume_token");
  request_.mutable_slice()->set_index(1);
  request_.mutable_slice()->set_total(3);
  request_.set_filter("a = 1");
  ExpectField(Open().status(), "resume_token");
  request_.clear_filter();
  request_.set_parent("collections/d");
  ExpectField(Open().status(), "resume_token");
  request_.set_parent("collections/c");
  EXPECT_TRUE(Open().ok());
  engine_.collections[0].etag = "2";  // made anew
  ExpectField(Open().status(), "resume_token");
  engine_.collections[0].etag = "1";
  for (size_t i = 0; i < token.size(); ++i) {
    std::string altered = token;
    altered[i] = altered[i] == 'A' ? 'B' : 'A';
    request_.set_resume_token(altered);
    ExpectField(Open().status(), "resume_token");
  }
}

TEST_F(DocumentsStreamTest, AFilterIsPassedOnAndTellsHowFarItHasCome) {
  for (const char* id : {"a", "b", "c", "d", "e"}) engine_.documents[id] = Stored(id, "hidden");
  engine_.documents["f"] = Stored("f");
  request_.set_filter("a = 1");
  const Read all = ReadAll();
  ASSERT_TRUE(all.status.ok()) << all.status;
  EXPECT_EQ(engine_.stream_request.filter, "a = 1");
  EXPECT_EQ(all.ids, std::vector<std::string>{"f"});
  ASSERT_EQ(all.messages.size(), 3u);  // a and b, c and d, e and f
  EXPECT_EQ(all.messages[1].documents_size(), 0);
  request_.set_resume_token(all.messages[1].resume_token());
  const Read rest = ReadAll();
  EXPECT_EQ(engine_.stream_request.after_id, "d");
  EXPECT_EQ(rest.ids, std::vector<std::string>{"f"});
  EXPECT_EQ(rest.messages.size(), 1u);
}

TEST_F(DocumentsStreamTest, ErrorsAreTold) {
  request_.set_parent("c");
  ExpectField(Open().status(), "parent");
  request_.set_parent("collections/none");
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kNotFound);
  request_.set_parent("collections/c");
  engine_.documents["a"] = Stored("a");
  engine_.stream_end = absl::UnavailableError("too old");
  const Read old = ReadAll();
  EXPECT_EQ(old.ids, std::vector<std::string>{"a"});  // what was read goes out first
  EXPECT_EQ(old.status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace vecino::rpc
