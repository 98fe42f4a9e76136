#include "server/rpc/wire.h"

#include <grpcpp/support/slice.h>

#include <random>

#include "google/protobuf/stubs/logging.h"

#include "server/rpc/methods.h"
#include "tests/server/rpc/expect_field.h"
#include "tests/server/rpc/fake_engine.h"

namespace vecino::rpc {
namespace {

grpc::ByteBuffer Bytes(const std::string& bytes) {
  // In pieces, as they come from the network.
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < bytes.size(); i += 7) slices.emplace_back(bytes.substr(i, 7));
  return {slices.data(), slices.size()};
}

// A length-delimited field, written by hand: protobuf would not write bad UTF-8 without complaint.
std::string Field(int number, const std::string& value) {
  EXPECT_LT(value.size(), 128u);
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         std::string(1, static_cast<char>(value.size())) + value;
}

TEST(WireTest, NamesTheStringThatIsNotUtf8) {
  v1::BatchUpsertDocumentsRequest request;
  const std::string bytes = Field(1, "collections/c") + Field(2, Field(2, "a") + Field(3, "fine")) +
                            Field(2, Field(2, "b") + Field(3, "\xff"));
  ExpectField(ReadMessage(Bytes(bytes), &request), "documents[1].text", "not UTF-8");
  v1::EmbedTextRequest embed;
  ExpectField(ReadMessage(Bytes(Field(2, "ok") + Field(2, "\xc3")), &embed), "texts[1]");
}

TEST(WireTest, ReadsWhatIsGood) {
  v1::BatchUpsertDocumentsRequest in, out;
  in.set_parent("collections/c");
  for (int i = 0; i < 20; ++i) in.add_documents()->set_text(std::string(1000, 'x'));
  ASSERT_TRUE(ReadMessage(Bytes(in.SerializeAsString()), &out).ok());
  EXPECT_EQ(out.SerializeAsString(), in.SerializeAsString());
  EXPECT_TRUE(ReadMessage(Bytes(""), &out).ok());  // the message without any field
}

TEST(WireTest, DeepMetadataIsReadSoThatItCanBeRefused) {
  v1::Document document;
  auto* at = document.mutable_metadata();
  for (int i = 0; i < 40; ++i) at = (*at->mutable_fields())["k"].mutable_struct_value();
  v1::Document out;
  EXPECT_TRUE(ReadMessage(Bytes(document.SerializeAsString()), &out).ok());
  for (int i = 0; i < 400; ++i) at = (*at->mutable_fields())["k"].mutable_struct_value();
  const absl::Status status = ReadMessage(Bytes(document.SerializeAsString()), &out);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("nested"));
}

TEST(WireTest, RepliesOverTheLimitSayWhatToLower) {
  v1::CountDocumentsResponse small;
  small.set_count(5);
  grpc::ByteBuffer buffer;
  EXPECT_TRUE(WriteMessage(small, 100, "", &buffer).ok());
  EXPECT_EQ(buffer.Length(), small.ByteSizeLong());
  v1::GetDocumentResponse large;
  large.mutable_document()->set_text(std::string(200, 'x'));
  const absl::Status status = WriteMessage(large, 100, "lower top_k", &buffer);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(testing::HasSubstr("lower top_k"), testing::HasSubstr("100")));
}

TEST(MethodsTest, EveryMethodOfTheContractIsThere) {
  FakeEngine engine;
  WorkerPool workers(1, 1);
  Handlers handlers(&engine, &workers, {}, 4 << 20);
  const MethodTable methods = handlers.Methods();
  const StreamTable streams = handlers.Streams();
  const BidiTable bidis = handlers.Bidis();
  size_t count = 0;
  for (const auto* service : Services()) {
    for (int i = 0; i < service->method_count(); ++i, ++count) {
      const std::string path = MethodPath(*service->method(i));
      const bool bidi = service->method(i)->client_streaming();
      const bool stream = service->method(i)->server_streaming() && !bidi;
      EXPECT_EQ(methods.contains(path), !stream && !bidi) << path;
      EXPECT_EQ(streams.contains(path), stream) << path;
      EXPECT_EQ(bidis.contains(path), bidi) << path;
    }
  }
  EXPECT_EQ(methods.size() + streams.size() + bidis.size(), count);
}

TEST(MethodsTest, GarbageNeverCrashes) {
  google::protobuf::SetLogHandler(nullptr);  // it writes a line for each string that is not UTF-8
  FakeEngine engine;
  engine.write = [](size_t, const auto&) { return engine::WriteResult{}; };
  engine.erase = [](const auto&) { return engine::WriteResult{}; };
  engine.operations.resize(1);
  engine.fake_snapshots.running.resize(1);
  WorkerPool workers(1, 1);
  Handlers handlers(&engine, &workers, {}, 4 << 20);
  const MethodTable methods = handlers.Methods();
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(random() % 60, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    // Often something like a message: small tags and lengths.
    if (i % 2 == 0) {
      for (size_t j = 0; j + 1 < bytes.size(); j += 1 + random() % 8) {
        bytes[j] = static_cast<char>((random() % 6 + 1) << 3 | (random() % 2 ? 2 : 0));
        bytes[j + 1] = static_cast<char>(random() % 20);
      }
    }
    for (const auto& [path, method] : methods) {
      grpc::ByteBuffer reply;
      const absl::Status status = method(Bytes(bytes), &reply, {});
      EXPECT_NE(status.code(), absl::StatusCode::kInternal) << path << ": " << status;
    }
  }
}

}  // namespace
}  // namespace vecino::rpc
