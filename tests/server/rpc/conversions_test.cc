#include "server/rpc/conversions.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/rpc/metadata.h"
#include "server/rpc/page_token.h"
#include "server/rpc/resource_names.h"
#include "tests/server/rpc/expect_field.h"

namespace vecino::rpc {
namespace {

using google::protobuf::Struct;
using google::protobuf::util::MessageDifferencer;

v1::Vector Floats(std::initializer_list<float> values) {
  v1::Vector vector;
  for (float value : values) vector.add_values(value);
  return vector;
}

TEST(VectorTest, BothFormsGiveTheSameValues) {
  v1::Vector bytes;
  bytes.set_float32_le(std::string("\0\0\x80\x3f\0\0\0\xc0", 8));  // 1, -2
  const std::vector<float> expected = {1, -2};
  EXPECT_EQ(ReadVector("v", bytes).value(), expected);
  EXPECT_EQ(ReadVector("v", Floats({1, -2})).value(), expected);
}

TEST(VectorTest, RefusesWhatIsNoVector) {
  v1::Vector both = Floats({1});
  both.set_float32_le("abcd");
  ExpectField(ReadVector("v", both).status(), "v", "both");
  ExpectField(ReadVector("v", v1::Vector()).status(), "v", "empty");
  v1::Vector odd;
  odd.set_float32_le("abcde");
  ExpectField(ReadVector("v", odd).status(), "v.float32_le", "5 bytes");
  ExpectField(ReadVector("v", Floats({1, NAN})).status(), "v", "position 1");
  ExpectField(ReadVector("v", Floats({INFINITY})).status(), "v", "inf");
  v1::Vector nan;
  nan.set_float32_le(std::string("\0\0\xc0\x7f", 4));
  ExpectField(ReadVector("v", nan).status(), "v", "nan");
  v1::Vector wide;
  wide.mutable_values()->Resize(16385, 1.0f);
  ExpectField(ReadVector("v", wide).status(), "v", "16384");
}

TEST(MaskTest, PathsAndDefaults) {
  google::protobuf::FieldMask mask;
  auto parts = ReadMask(mask).value();
  EXPECT_TRUE(parts.text && parts.metadata && !parts.vector);
  mask.add_paths("vector");
  parts = ReadMask(mask).value();
  EXPECT_TRUE(!parts.text && !parts.metadata && parts.vector);
  mask.set_paths(0, "id");
  parts = ReadMask(mask).value();
  EXPECT_TRUE(!parts.text && !parts.metadata && !parts.vector);
  mask.add_paths("txet");
  ExpectField(ReadMask(mask).status(), "read_mask", "txet");
}

TEST(EnumTest, UnknownValuesAreRefused) {
  ExpectField(ReadTruncate(static_cast<v1::TruncateMode>(9)).status(), "truncate", "9");
  EXPECT_EQ(ReadTruncate(v1::TRUNCATE_MODE_ERROR).value(), engine::Truncate::kError);
}

TEST(PageSizeTest, DefaultAndCut) {
  EXPECT_EQ(ReadPageSize(0).value(), 100);
  EXPECT_EQ(ReadPageSize(7).value(), 7);
  EXPECT_EQ(ReadPageSize(2000000000).value(), 1000);
  ExpectField(ReadPageSize(-1).status(), "page_size", "-1");
}

TEST(DocumentTest, RoundTrip) {
  v1::Document in;
  in.set_name("collections/c/documents/a/b");
  in.set_text("grün");
  (*in.mutable_metadata()->mutable_fields())["year"].set_number_value(2020);
  *in.mutable_vector() = Floats({0.5f, 1});
  auto write = ReadDocument("document", "c", in);
  ASSERT_TRUE(write.ok()) << write.status();
  EXPECT_EQ(write->document.id, "a/b");
  EXPECT_EQ(write->document.metadata, R"({"year":2020})");
  write->document.sequence = 7;
  write->document.create_time_us = 1500000;
  v1::Document out;
  ASSERT_TRUE(WriteDocument("c", write->document, &out).ok());
  EXPECT_EQ(out.version(), 7);
  EXPECT_EQ(out.create_time().seconds(), 1);
  EXPECT_EQ(out.create_time().nanos(), 500000000);
  EXPECT_EQ(out.id(), "a/b");
  EXPECT_EQ(out.name(), in.name());
  EXPECT_EQ(out.text(), in.text());
  EXPECT_TRUE(MessageDifferencer::Equals(out.metadata(), in.metadata()));
  EXPECT_TRUE(MessageDifferencer::Equals(out.vector(), in.vector()));
}

TEST(DocumentTest, NamesWhatIsWrong) {
  const auto read = [](const v1::Document& document) {
    return ReadDocument("documents[3]", "c", document).status();
  };
  v1::Document document;
  ExpectField(read(document), "documents[3].id", "empty");
  document.set_id(std::string(513, 'x'));
  ExpectField(read(document), "documents[3].id", "513");
  document.set_id(std::string("a\0b", 3));
  ExpectField(read(document), "documents[3].id", "NUL");
  document.set_id("a");
  document.set_name("collections/other/documents/a");
  ExpectField(read(document), "documents[3].name", "another collection");
  document.set_name("collections/c/documents/b");
  ExpectField(read(document), "documents[3].id", "ends in");
  document.set_name("documents/b");
  ExpectField(read(document), "documents[3].name", "form");
  document.clear_name();
  document.set_text(std::string((1 << 20) + 1, 'x'));
  ExpectField(read(document), "documents[3].text", "1048576");
  document.clear_text();
  document.mutable_vector();
  ExpectField(read(document), "documents[3].vector", "empty");
  document.clear_vector();
  (*document.mutable_metadata()->mutable_fields())["a"].set_number_value(NAN);
  ExpectField(read(document), "documents[3].metadata", "NaN");
}

TEST(DocumentTest, DamagedMetadataIsDataLoss) {
  storage::Document stored;
  stored.id = "a";
  stored.metadata = "{\"a\":";
  v1::Document out;
  const absl::Status status = WriteDocument("c", stored, &out);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("collections/c/documents/a"));
}

TEST(MetadataTest, AgreesWithProtobuf) {
  const char* cases[] = {
      "{}",
      R"({"a":1,"b":-2.5,"c":1e300,"d":-0.0,"e":123456789012345680000,"f":0.1})",
      R"({"s":"\"\\\/\b\f\n\r\t\u0001é€😀","":"","k\n":"\uD83D\uDE00"})",
      R"({"list":[1,"two",null,true,false,{"x":[]},[[]]],"o":{"p":{"q":{}}}})",
  };
  for (const char* json : cases) {
    Struct expected;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &expected).ok()) << json;
    Struct read;
    ASSERT_TRUE(JsonToMetadata(json, &read).ok()) << json;
    EXPECT_TRUE(MessageDifferencer::Equals(read, expected)) << json << read.DebugString();
    const auto written = MetadataToJson("m", expected);
    ASSERT_TRUE(written.ok()) << written.status();
    Struct again, again_by_protobuf;
    ASSERT_TRUE(JsonToMetadata(*written, &again).ok()) << *written;
    EXPECT_TRUE(MessageDifferencer::Equals(again, expected)) << *written;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(*written, &again_by_protobuf).ok());
    EXPECT_TRUE(MessageDifferencer::Equals(again_by_protobuf, expected)) << *written;
  }
}

TEST(MetadataTest, RefusesWhatIsNotJson) {
  for (const char* json : {"", "[]", "{", "{\"a\"}", "{\"a\":1,}", "{\"a\":01x}", "{} x", "{a:1}",
                           "{\"a\":\"\\ud800\"}", "{\"a\":\"\\x\"}", "{\"a\":nul}", "{\"a\":inf}",
                           "{\"a\":\"\\u12", "{\"a\":-}"}) {
    Struct out;
    EXPECT_EQ(JsonToMetadata(json, &out).code(), absl::StatusCode::kDataLoss) << json;
  }
}

Struct Nested(int levels) {
  Struct root;
  Struct* at = &root;
  for (int i = 1; i < levels; ++i) {
    at = (*at->mutable_fields())["k"].mutable_struct_value();
  }
  return root;
}

TEST(MetadataTest, LimitsDepthAndSize) {
  const auto good = MetadataToJson("m", Nested(32));
  ASSERT_TRUE(good.ok());
  Struct back;
  EXPECT_TRUE(JsonToMetadata(*good, &back).ok());
  ExpectField(MetadataToJson("m", Nested(33)).status(), "m", "32 levels");
  Struct large;
  (*large.mutable_fields())["a"].set_string_value(std::string(65536 - 8, 'x'));
  EXPECT_TRUE(MetadataToJson("m", large).ok());  // exactly 64 KiB
  (*large.mutable_fields())["a"].set_string_value(std::string(65536 - 7, 'x'));
  ExpectField(MetadataToJson("m", large).status(), "m", "65537");
  Struct unset;
  (*unset.mutable_fields())["key"];
  ExpectField(MetadataToJson("m", unset).status(), "m", "key");
}

TEST(NamesTest, ParseAndRefuse) {
  EXPECT_EQ(ParseCollectionName("name", "collections/a_b-1").value(), "a_b-1");
  const auto document = ParseDocumentName("name", "collections/c/documents/x/documents/y");
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(document->document, "x/documents/y");
  EXPECT_EQ(ParseModelName("m", "models/all-MiniLM").value(), "all-MiniLM");
  for (const char* name : {"", "collections/", "collections/A", "collections/-a", "collection/a",
                           "collections/a/b", "collections/a b"}) {
    ExpectField(ParseCollectionName("name", name).status(), "name");
  }
  ExpectField(ParseCollectionName("name", "collections/" + std::string(64, 'a')).status(), "name",
              "63");
  EXPECT_TRUE(ParseCollectionName("name", "collections/" + std::string(63, 'a')).ok());
  ExpectField(ParseDocumentName("name", "collections/c/documents/").status(), "name", "empty");
  ExpectField(ParseDocumentName("name", "collections/C/documents/a").status(), "name");
  ExpectField(ParseModelName("m", "models/").status(), "m");
}

TEST(PageTokenTest, RoundTripAndTampering) {
  const std::string token = MakePageToken("List", "c", {3, "id/ü"});
  const auto read = ReadPageToken("List", "c", token);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->shard, 3);
  EXPECT_EQ(read->after_id, "id/ü");
  ExpectField(ReadPageToken("List", "other", token).status(), "page_token");
  ExpectField(ReadPageToken("Other", "c", token).status(), "page_token");
  for (size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(ReadPageToken("List", "c", changed).ok()) << "character " << i;
    EXPECT_FALSE(ReadPageToken("List", "c", token.substr(0, i)).ok()) << "cut at " << i;
  }
  ExpectField(ReadPageToken("List", "c", "not base64!").status(), "page_token");
  ExpectField(ReadPageToken("List", "c", token + "A").status(), "page_token");
}

TEST(TokensTest, Ranges) {
  google::protobuf::RepeatedPtrField<v1::WriteToken> tokens;
  tokens.Add()->set_sequence_number(5);
  EXPECT_EQ(ReadTokens(tokens).value()[0].sequence, 5u);
  tokens.Add()->set_shard(64);
  ExpectField(ReadTokens(tokens).status(), "write_tokens[1].shard", "64");
  tokens[1].set_shard(0);
  tokens[1].set_sequence_number(-1);
  ExpectField(ReadTokens(tokens).status(), "write_tokens[1].sequence_number", "-1");
}

}  // namespace
}  // namespace vecino::rpc
