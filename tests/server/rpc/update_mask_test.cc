#include "server/rpc/update_mask.h"

#include <gtest/gtest.h>

#include "server/rpc/metadata.h"
#include "tests/server/rpc/expect_field.h"

namespace vecino::rpc {
namespace {

google::protobuf::FieldMask Mask(const std::vector<std::string>& paths) {
  google::protobuf::FieldMask mask;
  for (const std::string& path : paths) mask.add_paths(path);
  return mask;
}

google::protobuf::Struct Metadata(const std::string& json) {
  google::protobuf::Struct metadata;
  EXPECT_TRUE(JsonToMetadata(json, &metadata).ok()) << json;
  return metadata;
}

storage::Document Current() {
  storage::Document document;
  document.id = "x";
  document.text = "old";
  document.metadata = R"({"a":1,"deep":{"b":2,"c":3}})";
  document.vector = {1, 2};
  document.sequence = 7;
  document.expire_time_us = 99;
  return document;
}

engine::DocumentWrite Given() {
  engine::DocumentWrite given;
  given.document.id = "x";
  return given;
}

// What the mask makes of Current().
engine::DocumentWrite Apply(const std::vector<std::string>& paths,
                            const engine::DocumentWrite& given, const std::string& metadata = "{}",
                            bool has_model = true) {
  const auto mask = UpdateMask::Read(Mask(paths));
  EXPECT_TRUE(mask.ok()) << mask.status();
  const storage::Document current = Current();
  auto next = mask->Apply(given, Metadata(metadata), has_model, &current);
  EXPECT_TRUE(next.ok()) << next.status();
  return next.ok() ? *next : engine::DocumentWrite();
}

std::string Patched(const std::vector<std::string>& paths, const std::string& metadata) {
  return Apply(paths, Given(), metadata).document.metadata;
}

TEST(UpdateMask, WholeDocuments) {
  EXPECT_TRUE(UpdateMask::Read(Mask({}))->whole());
  EXPECT_TRUE(UpdateMask::Read(Mask({"*"}))->whole());
  EXPECT_FALSE(UpdateMask::Read(Mask({"text"}))->whole());
}

TEST(UpdateMask, UnknownPathsAreNamed) {
  std::string deep = "metadata";
  for (int i = 0; i < 33; ++i) deep += ".a";
  for (const std::string& path :
       {std::string("version"), std::string("metadata."), std::string("metadata..a"),
        std::string("metadata.a."), std::string("id"), std::string(""), std::string("ttl"), deep}) {
    ExpectField(UpdateMask::Read(Mask({"text", path})).status(), "update_mask", path.substr(0, 90));
  }
  ExpectField(UpdateMask::Read(Mask({"text", "*"})).status(), "update_mask", "only path");
}

TEST(UpdateMask, WhatIsNotNamedStays) {
  const engine::DocumentWrite next = Apply({"metadata.a"}, Given(), R"({"a":5,"ignored":1})");
  EXPECT_EQ(next.document.text, "old");
  EXPECT_EQ(next.document.vector, Current().vector);
  EXPECT_TRUE(next.vector_as_stored);
  EXPECT_EQ(next.document.expire_time_us, 99);
  EXPECT_TRUE(next.expiry_as_stored);
  EXPECT_EQ(next.document.metadata, R"({"a":5,"deep":{"b":2,"c":3}})");
}

TEST(UpdateMask, FieldsOfMetadataAreSetAndRemoved) {
  EXPECT_EQ(Patched({"metadata.deep.b"}, R"({"deep":{"b":"new","c":"not named"}})"),
            R"({"a":1,"deep":{"b":"new","c":3}})");
  EXPECT_EQ(Patched({"metadata.deep.b"}, "{}"), R"({"a":1,"deep":{"c":3}})");
  EXPECT_EQ(Patched({"metadata.deep"}, R"({"deep":[1]})"), R"({"a":1,"deep":[1]})");
  EXPECT_EQ(Patched({"metadata.a"}, R"({"a":null})"), R"({"a":null,"deep":{"b":2,"c":3}})");
  // Objects on the way are made; what is none gives way.
  EXPECT_EQ(Patched({"metadata.a.x.y"}, R"({"a":{"x":{"y":true}}})"),
            R"({"a":{"x":{"y":true}},"deep":{"b":2,"c":3}})");
  // There is nothing to remove.
  EXPECT_EQ(Patched({"metadata.a.x", "metadata.none.x"}, "{}"), Current().metadata);
  EXPECT_EQ(Patched({"metadata.a", "metadata.deep"}, "{}"), "");
  engine::DocumentWrite given = Given();
  given.document.metadata = R"({"z":1})";
  EXPECT_EQ(Apply({"metadata", "metadata.a"}, given, R"({"z":1})").document.metadata, R"({"z":1})");
  EXPECT_EQ(Apply({"metadata"}, Given()).document.metadata, "");
}

TEST(UpdateMask, MetadataStaysWithinItsLimits) {
  const auto mask = UpdateMask::Read(Mask({"metadata.big"}));
  storage::Document current = Current();
  current.metadata = R"({"a":")" + std::string(40'000, 'x') + "\"}";
  const std::string big = R"({"big":")" + std::string(40'000, 'y') + "\"}";
  ExpectField(mask->Apply(Given(), Metadata(big), true, &current).status(), "document.metadata",
              "the limit is 65536");
  current.metadata = "{";
  EXPECT_EQ(mask->Apply(Given(), Metadata("{}"), true, &current).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(UpdateMask, ANewTextTakesTheVectorWithIt) {
  engine::DocumentWrite given = Given();
  given.document.text = "new";
  EXPECT_TRUE(Apply({"text"}, given).document.vector.empty());
  EXPECT_EQ(Apply({"text"}, given).document.text, "new");
  // Nobody could make another.
  EXPECT_EQ(Apply({"text"}, given, "{}", /*has_model=*/false).document.vector, Current().vector);
  // The same text needs no new one.
  given.document.text = "old";
  EXPECT_EQ(Apply({"text"}, given).document.vector, Current().vector);
  given.document.text = "new";
  given.document.vector = {3, 4};
  const engine::DocumentWrite both = Apply({"text", "vector"}, given);
  EXPECT_EQ(both.document.vector, given.document.vector);
  EXPECT_FALSE(both.vector_as_stored);
  EXPECT_TRUE(Apply({"vector"}, Given()).document.vector.empty());
}

TEST(UpdateMask, ExpireTimeIsSetAndCleared) {
  engine::DocumentWrite given = Given();
  given.ttl_us = 5;
  const engine::DocumentWrite next = Apply({"expire_time"}, given);
  EXPECT_EQ(next.ttl_us, 5);
  EXPECT_EQ(next.document.expire_time_us, 0);
  EXPECT_FALSE(next.expiry_as_stored);
  EXPECT_EQ(Apply({"expire_time"}, Given()).document.expire_time_us, 0);
  EXPECT_EQ(Apply({"text"}, given).ttl_us, 0);
}

TEST(UpdateMask, WithoutADocumentTheNamedFieldsMakeOne) {
  const auto mask = UpdateMask::Read(Mask({"text", "metadata.n"}));
  engine::DocumentWrite given = Given();
  given.document.text = "new";
  given.document.vector = {1};  // not named
  const auto next = mask->Apply(given, Metadata(R"({"n":1,"m":2})"), true, nullptr);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->document.id, "x");
  EXPECT_EQ(next->document.text, "new");
  EXPECT_EQ(next->document.metadata, R"({"n":1})");
  EXPECT_TRUE(next->document.vector.empty());
  EXPECT_FALSE(next->vector_as_stored);
}

}  // namespace
}  // namespace vecino::rpc
