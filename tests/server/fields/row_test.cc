#include "server/fields/row.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace vecino::fields {
namespace {

std::string Show(const FieldValue& value) {
  switch (value.type) {
    case ValueType::kNull:
      return value.path + "=null";
    case ValueType::kBool:
      return value.path + (value.boolean ? "=true" : "=false");
    case ValueType::kNumber:
      return absl::StrCat(value.path, "=", value.number);
    case ValueType::kString:
      return value.path + "='" + value.text + "'";
    case ValueType::kObject:
      return value.path + "={}";
  }
  return "?";
}

std::vector<std::string> Read(std::string_view json) {
  const auto row = ReadMetadata(json);
  EXPECT_TRUE(row.ok()) << row.status();
  std::vector<std::string> shown;
  if (row.ok()) {
    for (const FieldValue& value : row->values) shown.push_back(Show(value));
  }
  return shown;
}

using Shown = std::vector<std::string>;

TEST(ReadMetadata, FlattensObjectsAndLists) {
  EXPECT_EQ(Read(""), Shown{});
  EXPECT_EQ(Read("{}"), Shown{});
  EXPECT_EQ(Read(R"({"a":1,"b":"x","c":true,"d":null,"e":-0.0})"),
            (Shown{"a=1", "b='x'", "c=true", "d=null", "e=0"}));
  EXPECT_EQ(Read(R"({"a":{"b":{"c":2},"d":3},"e":4})"),
            (Shown{"a={}", "a.b={}", "a.b.c=2", "a.d=3", "e=4"}));
  EXPECT_EQ(Read(R"({"t":["x",1,[2,{"k":5}]],"u":[]})"),
            (Shown{"t={}", "t='x'", "t=1", "t={}", "t=2", "t={}", "t.k=5", "u={}"}));
  EXPECT_EQ(Read(R"({"a.b":1,"c\\d":{"é":2}})"), (Shown{"a\\.b=1", "c\\\\d={}", "c\\\\d.é=2"}));
}

TEST(ReadMetadata, RefusesWhatIsNoObject) {
  for (const char* json :
       {"[]", "1", "\"x\"", "null", "{", "{\"a\":}", "{\"a\":1}x", "[{}]", "{\"a\":1e999}"}) {
    EXPECT_EQ(ReadMetadata(json).status().code(), absl::StatusCode::kInvalidArgument) << json;
  }
}

TEST(ParseTime, DatesAndTimes) {
  int64_t micros = 0;
  ASSERT_TRUE(ParseTime("1970-01-02", &micros));
  EXPECT_EQ(micros, int64_t{86'400'000'000});
  ASSERT_TRUE(ParseTime("1970-01-01T00:00:01.5Z", &micros));
  EXPECT_EQ(micros, 1'500'000);
  ASSERT_TRUE(ParseTime("1970-01-01T02:00:00+02:00", &micros));
  EXPECT_EQ(micros, 0);
  for (const char* text : {"", "1970", "1970-13-01", "1970-01-01 ", "1970-01-01T", "next Tuesday",
                           "2024-1-1", "abcd-ef-gh"}) {
    EXPECT_FALSE(ParseTime(text, &micros)) << text;
  }
}

}  // namespace
}  // namespace vecino::fields
