#include "client/metadata_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace vecino::internal {
namespace {

using google::protobuf::Struct;

std::string RoundTrip(const std::string& json) {
  Struct metadata;
  const Status status = FromJson(json, "metadata", &metadata);
  return status.ok() ? ToJson(metadata) : status.ToString();
}

TEST(MetadataJsonTest, KeysComeSortedAndValuesUnchanged) {
  EXPECT_EQ(RoundTrip(R"({"b": [1, 2.5, "x", true, null, {"z": {}}], "a": -0.1})"),
            R"({"a":-0.1,"b":[1,2.5,"x",true,null,{"z":{}}]})");
  EXPECT_EQ(RoundTrip(R"({"q": "\"\\\n\r\t\u0001 é 😀 \u20ac"})"),
            "{\"q\":\"\\\"\\\\\\n\\r\\t\\u0001 é 😀 €\"}");
}

TEST(MetadataJsonTest, NumbersReadBackTheSame) {
  EXPECT_EQ(RoundTrip(R"({"a": 9007199254740991, "b": -7, "c": 1e300, "d": 0.1})"),
            R"({"a":9007199254740991,"b":-7,"c":1e+300,"d":0.1})");
  Struct metadata;
  (*metadata.mutable_fields())["x"].set_number_value(std::numeric_limits<double>::infinity());
  EXPECT_EQ(ToJson(metadata), R"({"x":null})");
}

TEST(MetadataJsonTest, EmptyIsEmpty) {
  EXPECT_EQ(RoundTrip(""), "");
  EXPECT_EQ(RoundTrip("{}"), "");
}

TEST(MetadataJsonTest, WhatIsNoObjectIsRefusedWithTheField) {
  for (const char* json : {"[1]", "7", "{\"a\":", "nonsense", "{\"a\": \"\xff\"}"}) {
    Struct metadata;
    const Status status = FromJson(json, "documents[4].metadata", &metadata);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << json;
    EXPECT_EQ(status.field(), "documents[4].metadata") << json;
    EXPECT_EQ(status.message().find('\n'), std::string::npos) << status.message();
  }
}

TEST(MetadataJsonTest, TooManyLevelsAreCounted) {
  const auto nested = [](int levels) {  // half objects, half lists, and brackets that are text
    std::string json = "\"[{\\\"[{\"";
    for (int i = 0; i < levels; ++i) json = i % 2 == 0 ? "{\"a\":" + json + "}" : "[" + json + "]";
    return levels % 2 == 0 ? "{\"a\":" + json + "}" : json;
  };
  EXPECT_EQ(RoundTrip(nested(31)), nested(31));
  EXPECT_THAT(RoundTrip(nested(33)), testing::HasSubstr("33 levels deep; the limit is 32"));
  EXPECT_THAT(RoundTrip(nested(200)), testing::HasSubstr("201 levels deep"));
}

}  // namespace
}  // namespace vecino::internal
