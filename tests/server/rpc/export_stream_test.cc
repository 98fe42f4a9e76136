#include "server/rpc/export_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

class ExportStreamTest : public HandlersTest {
 protected:
  // An export of a file of `bytes` and of `ids`.
  std::unique_ptr<engine::IndexExport> Export(const std::string& bytes,
                                              std::vector<std::string> ids) {
    const std::string path = testing::TempDir() + "/export_stream_test_" + std::to_string(getpid());
    std::ofstream(path, std::ios::binary) << bytes;
    auto file = engine::UnnamedFile::Take(path);
    EXPECT_TRUE(file.ok()) << file.status();
    EXPECT_FALSE(std::filesystem::exists(path));
    engine::CollectionSpec spec;
    spec.id = "c";
    spec.dimension = 3;
    spec.metric = engine::Metric::kL2;
    spec.index.kind = engine::IndexKind::kHnsw;
    return std::make_unique<engine::IndexExport>(
        engine::IndexExport{.spec = spec,
                            .shard = 1,
                            .content = {.file = *std::move(file),
                                        .ids = std::move(ids),
                                        .description = "IndexHNSWFlat"},
                            .place = nullptr});
  }

  static std::vector<v1::ExportIndexResponse> ReadAll(MessageStream& stream) {
    std::vector<v1::ExportIndexResponse> messages;
    grpc::ByteBuffer buffer;
    for (absl::StatusOr<bool> more = stream.Next(&buffer); more.ok() && *more;
         more = stream.Next(&buffer)) {
      EXPECT_LE(buffer.Length(), kMaxStreamMessageBytes);
      EXPECT_TRUE(ReadMessage(buffer, &messages.emplace_back()).ok());
    }
    return messages;
  }
};

TEST_F(ExportStreamTest, HeaderThenFileThenIds) {
  std::string bytes(5'000'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  std::vector<std::string> ids;
  for (int i = 0; i < 6000; ++i) ids.push_back(std::to_string(i) + std::string(500, 'x') + "\n");
  ExportStream stream(Export(bytes, ids), nullptr);
  const auto messages = ReadAll(stream);
  ASSERT_GT(messages.size(), 8u);
  const v1::ExportIndexHeader& header = messages[0].header();
  EXPECT_EQ(header.name(), "collections/c");
  EXPECT_EQ(header.shard(), 1);
  EXPECT_EQ(header.shard_count(), 2);
  EXPECT_EQ(header.rows(), 6000);
  EXPECT_EQ(header.index_bytes(), 5'000'000);
  EXPECT_EQ(header.kind(), v1::IndexPolicy::KIND_HNSW);
  EXPECT_EQ(header.dimension(), 3);
  EXPECT_EQ(header.metric(), v1::METRIC_L2);
  EXPECT_EQ(header.description(), "IndexHNSWFlat");
  std::string got;
  std::vector<std::string> got_ids;
  for (size_t i = 1; i < messages.size(); ++i) {
    EXPECT_FALSE(messages[i].has_header());
    got += messages[i].index_data();
    EXPECT_TRUE(got_ids.empty() || messages[i].has_document_ids());
    for (const std::string& id : messages[i].document_ids().ids()) got_ids.push_back(id);
  }
  EXPECT_TRUE(got == bytes);
  EXPECT_EQ(got_ids, ids);
}

TEST_F(ExportStreamTest, EmptyIndexIsHeaderAndFile) {
  ExportStream stream(Export("xy", {}), nullptr);
  const auto messages = ReadAll(stream);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].header().rows(), 0);
  EXPECT_EQ(messages[1].index_data(), "xy");
}

TEST_F(ExportStreamTest, HandlerChecksAndPassesOn) {
  v1::ExportIndexRequest request;
  request.set_name("c");
  ExpectField(collections_.ExportIndex(request, context_).status(), "name");
  request.set_name("collections/c");
  request.set_shard(1);
  request.set_omit_vectors(true);
  engine_.make_export = [&] { return Export("xy", {"a"}); };
  const auto stream = collections_.ExportIndex(request, context_);
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(engine_.collection, "c");
  EXPECT_EQ(engine_.export_request.shard, 1);
  EXPECT_FALSE(engine_.export_request.vectors);
  EXPECT_EQ(ReadAll(**stream).size(), 3u);
}

TEST_F(ExportStreamTest, FourAtATime) {
  v1::ExportIndexRequest request;
  request.set_name("collections/c");
  engine_.make_export = [&] { return Export("xy", {}); };
  std::vector<std::unique_ptr<MessageStream>> streams;
  for (int i = 0; i < 4; ++i) {
    auto stream = collections_.ExportIndex(request, context_);
    ASSERT_TRUE(stream.ok()) << stream.status();
    streams.push_back(*std::move(stream));
  }
  const absl::Status fifth = collections_.ExportIndex(request, context_).status();
  EXPECT_EQ(fifth.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(fifth.message()), HasSubstr("4 exports are under way"));
  streams.pop_back();
  EXPECT_TRUE(collections_.ExportIndex(request, context_).ok());
  // A failure gives its place back as well.
  engine_.failure = absl::NotFoundError("no such collection");
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(collections_.ExportIndex(request, context_).status().code(),
              absl::StatusCode::kNotFound);
  }
}

}  // namespace
}  // namespace vecino::rpc
