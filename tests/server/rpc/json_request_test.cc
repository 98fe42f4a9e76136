#include "server/rpc/json_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/engine/types.h"
#include "server/rpc/json_shape.h"
#include "server/rpc/wire.h"
#include "vecino/v1/document_service.pb.h"
#include "vecino/v1/embedding_service.pb.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr size_t kPlenty = 16 << 20;

template <class Message>
absl::Status Read(const std::string& json, Message* message, size_t max_bytes = kPlenty) {
  std::string wire;
  absl::Status status = ReadJson(*Message::descriptor(), json, max_bytes, &wire);
  if (status.ok()) {
    EXPECT_TRUE(message->ParseFromString(wire));
  }
  return status;
}

absl::Status ReadSearch(const std::string& json) {
  v1::SearchDocumentsRequest request;
  return Read(json, &request);
}
absl::Status ReadUpsert(const std::string& json) {
  v1::BatchUpsertDocumentsRequest request;
  return Read(json, &request);
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

void ExpectNames(const absl::Status& status, const std::string& field, const std::string& why) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(engine::FieldOf(status), field) << status;
  EXPECT_THAT(Message(status), HasSubstr(why));
}

TEST(JsonRequestTest, ReadsWhatProto3JsonHas) {
  v1::SearchDocumentsRequest request;
  ASSERT_EQ(Read(R"({"parent": "collections/c", "text": "q\u00e9", "topK": 7, "recallTarget": "0.5",
                     "readMask": "id,text", "truncate": "TRUNCATE_MODE_ERROR", "filter": null,
                     "writeTokens": [{"shard": 1, "sequenceNumber": "9007199254740993"}]})",
                 &request),
            absl::OkStatus());
  EXPECT_EQ(request.text(), "qé");
  EXPECT_EQ(request.top_k(), 7);
  EXPECT_EQ(request.recall_target(), .5);
  EXPECT_THAT(request.read_mask().paths(), testing::ElementsAre("id", "text"));
  EXPECT_EQ(request.truncate(), v1::TRUNCATE_MODE_ERROR);
  EXPECT_EQ(request.write_tokens(0).sequence_number(), 9007199254740993);
  // The contract's own names, and numbers of enums.
  ASSERT_EQ(Read(R"({"top_k": "7", "document_id": "d", "truncate": 2})", &request),
            absl::OkStatus());
  EXPECT_EQ(request.document_id(), "d");
  EXPECT_EQ(request.top_k(), 7);
  EXPECT_EQ(request.truncate(), v1::TRUNCATE_MODE_ERROR);

  v1::BatchUpsertDocumentsRequest upsert;
  ASSERT_EQ(Read(R"({"documents": [{"id": "a", "vector": {"values": [1, 2.5, "3e-2"]},
                     "metadata": {"n": null, "deep": [{"x": [1, "y", true]}], "": {}}},
                    {"vector": {"float32Le": "AACAPw=="}}]})",
                 &upsert),
            absl::OkStatus());
  EXPECT_THAT(upsert.documents(0).vector().values(), testing::ElementsAre(1, 2.5f, 3e-2f));
  EXPECT_EQ(upsert.documents(0).metadata().fields().size(), 3);
  EXPECT_EQ(upsert.documents(1).vector().float32_le(), std::string("\0\0\x80\x3f", 4));
}

TEST(JsonRequestTest, WhatIsNoJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "{]",
                           "{\"parent\": }",
                           "{'parent': 'x'}",
                           "{parent: \"x\"}",
                           "{\"parent\": 'x'}",
                           "{\"topK\": 1,}",
                           "{} {}",
                           "{\"topK\": 01}",
                           "{\"topK\": +1}",
                           "{\"topK\": NaN}",
                           "{\"topK\": 1e999}",
                           "{\"parent\": \"\x01\"}",
                           "{\"parent\": \"\\ud800\"}",
                           "// x\n{}",
                           "{\"parent\": \"\xff\"}",
                           "{\"parent\": \"\xc0\x80\"}",
                           "{\"\xff\": 1}",
                           "\xff\xfe{}",
                           "nul",
                           "{\"parent\": \"x"}) {
    const absl::Status status = ReadSearch(text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(Message(status), StartsWith("the body is not JSON, at byte ")) << text;
    EXPECT_EQ(engine::FieldOf(status), "");
  }
  for (const char* text : {"[]", "1", "null", "true", "\"{}\"", "[{}]"}) {
    const absl::Status status = ReadSearch(text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(Message(status), HasSubstr("it must be an object")) << text;
  }
}

TEST(JsonRequestTest, UnknownFieldsAreNamed) {
  ExpectNames(ReadSearch(R"({"topk": 1})"), "topk", "its fields are parent, text,");
  ExpectNames(ReadSearch(R"({"vector": {"value": [1]}})"), "vector.value",
              "is not a field of vecino.v1.Vector");
  ExpectNames(ReadUpsert(R"({"documents": [{}, {"id": "a", "Text": 1}]})"), "documents[1].Text",
              "is not a field of vecino.v1.Document");
  ExpectNames(ReadSearch("{\"" + std::string(100000, 'x') + "\": 1}"), std::string(97, 'x') + "...",
              "is not a field");
  v1::ListModelsRequest none;
  ExpectNames(Read(R"({"pageSize": 1})", &none), "pageSize", "has no fields");
}

TEST(JsonRequestTest, WrongTypesAreNamed) {
  for (const auto& [value, why] :
       {std::pair("\"x\"", ""), std::pair("1.5", ""), std::pair("{}", "an object"),
        std::pair("[]", "an array"), std::pair("true", "a boolean"), std::pair("3000000000", ""),
        std::pair("\"\"", "")}) {
    ExpectNames(ReadSearch(std::string("{\"topK\": ") + value + "}"), "top_k", why);
  }
  for (const char* value : {"1", "true", "{}", "[]", "[\"a\"]"}) {
    ExpectNames(ReadSearch(std::string("{\"text\": ") + value + "}"), "text",
                "it must be a string");
  }
  for (const char* value : {"1", "true", "\"x\"", "[]", "[{}]"}) {
    ExpectNames(ReadSearch(std::string("{\"vector\": ") + value + "}"), "vector", "an object");
  }
  for (const char* value : {"1", "true", "\"x\"", "{}"}) {
    ExpectNames(ReadUpsert(std::string("{\"documents\": ") + value + "}"), "documents", "an array");
    ExpectNames(ReadUpsert(std::string("{\"documents\": [{\"metadata\": ") +
                           (value == std::string("{}") ? "[]" : value) + "}]}"),
                "documents[0].metadata", "an object");
  }
  ExpectNames(ReadUpsert(R"({"documents": [{}, null]})"), "documents[1]", "is null");
  ExpectNames(ReadUpsert(R"({"documents": [{"vector": {"values": [1, "x"]}}]})"),
              "documents[0].vector.values[1]", "");
  ExpectNames(ReadUpsert(R"({"documents": [{"vector": {"values": [1, 1e39]}}]})"),
              "documents[0].vector.values[1]", "is 1e+39, too large for a float");
  ExpectNames(ReadUpsert(R"({"documents": [{"vector": {"float32Le": "***"}}]})"),
              "documents[0].vector.float32_le", "");
  ExpectNames(ReadUpsert(R"({"documents": [{}, {"version": "1x"}]})"), "documents[1].version",
              "cannot be \"1x\"; it must be of type int64");
  ExpectNames(ReadUpsert(R"({"documents": [{"createTime": "yesterday"}]})"),
              "documents[0].create_time", "Invalid time format: yesterday; it must be a");
  ExpectNames(ReadUpsert(R"({"documents": [{"createTime": 5}]})"), "documents[0].create_time",
              "a string such as");
  ExpectNames(ReadSearch(R"({"truncate": "SOMETIMES"})"), "truncate",
              "it must be one of TRUNCATE_MODE_UNSPECIFIED, TRUNCATE_MODE_AUTO");
  ExpectNames(ReadSearch(R"({"truncate": {}})"), "truncate",
              "the name of a vecino.v1.TruncateMode");
  ExpectNames(ReadSearch(R"({"readMask": ["id"]})"), "read_mask", "a string such as");
}

TEST(JsonRequestTest, NothingIsSaidTwice) {
  ExpectNames(ReadSearch(R"({"topK": 1, "topK": 2})"), "top_k", "stands twice");
  ExpectNames(ReadSearch(R"({"topK": 1, "top_k": 2})"), "top_k", "stands twice");
  ExpectNames(ReadSearch(R"({"text": "a", "vector": {"values": [1]}})"), "vector",
              "and text are both set; only one `query` may be");
  EXPECT_EQ(ReadSearch(R"({"text": null, "vector": {"values": [1]}})"), absl::OkStatus());
  ExpectNames(ReadUpsert(R"({"documents": [{"metadata": {"a": 1, "b": {"c": 1, "c": 1}}}]})"),
              "documents[0].metadata.b.c", "stands twice");
  EXPECT_EQ(ReadUpsert(R"({"documents": [{"metadata": {"a": {"a": 1}, "b": {"a": 1}}}]})"),
            absl::OkStatus());
}

TEST(JsonRequestTest, Depth) {
  const auto nested = [](int levels, const std::string& open, const std::string& close) {
    std::string text = R"({"documents": [{"metadata": {"a": )";
    for (int i = 0; i < levels; ++i) text += open;
    text += "1";
    for (int i = 0; i < levels; ++i) text += close;
    return text + "}}]}";
  };
  // Four levels are open when they begin.
  for (const auto& [open, close] : {std::pair("[", "]"), std::pair("{\"a\":", "}")}) {
    const absl::Status most = ReadUpsert(nested(31, open, close));
    EXPECT_EQ(most, absl::OkStatus());
    EXPECT_EQ(ReadUpsert(nested(kMaxJsonDepth, open, close)).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(ReadUpsert(nested(kMaxJsonDepth, open, close))),
                HasSubstr("nested deeper than 64 levels"));
  }
  const absl::Status bomb = ReadUpsert(std::string(8 << 20, '['));
  EXPECT_THAT(Message(bomb), HasSubstr("it must be an object"));
  EXPECT_THAT(Message(ReadUpsert(R"({"documents": )" + std::string(8 << 20, '['))),
              HasSubstr("documents[0]: is an array"));
  EXPECT_THAT(
      Message(ReadUpsert(R"({"documents": [{"metadata": {"a": )" + std::string(8 << 20, '['))),
      HasSubstr("nested deeper"));
}

// Metadata as deep as it may be is no deeper than what is read.
TEST(JsonRequestTest, EveryDepthThatIsReadFitsTheWire) {
  std::string text;
  const int levels = kMaxJsonDepth - 4;
  for (int i = 0; i < levels; ++i) text += "{\"a\":";
  text += "1";
  for (int i = 0; i < levels; ++i) text += "}";
  std::string wire;
  ASSERT_EQ(ReadJson(*v1::BatchUpsertDocumentsRequest::descriptor(),
                     R"({"documents": [{"metadata": {"a": )" + text + "}}]}", kPlenty, &wire),
            absl::OkStatus());
  const grpc::Slice slice(wire);
  v1::BatchUpsertDocumentsRequest request;
  EXPECT_EQ(ReadMessage(grpc::ByteBuffer(&slice, 1), &request), absl::OkStatus());
}

TEST(JsonRequestTest, Bytes) {
  v1::BatchUpsertDocumentsRequest request;
  std::string zeros = R"({"documents": [{"metadata": {"a": [0)";
  for (int i = 0; i < 100000; ++i) zeros += ",0";
  zeros += "]}}]}";
  // 200 KB of JSON are 1.1 MB as a message.
  EXPECT_EQ(Read(zeros, &request, 1200000), absl::OkStatus());
  absl::Status status = Read(zeros, &request, 1000000);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(status), HasSubstr("more than 1000000 bytes"));
  status = Read(R"({"parent": ")" + std::string(2000, 'x') + "\"}", &request, 1999);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(status), Not(HasSubstr("xxxx")));
}

}  // namespace
}  // namespace vecino::rpc
