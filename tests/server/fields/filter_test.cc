#include "server/fields/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/server/fields/random_rows.h"

namespace vecino::fields {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

bool Passes(const std::string& filter, const std::string& json) {
  const auto parsed = Filter::Parse(filter);
  EXPECT_TRUE(parsed.ok()) << filter << ": " << parsed.status();
  const auto row = ReadMetadata(json);
  EXPECT_TRUE(row.ok()) << json;
  return parsed.ok() && row.ok() && (*parsed)->Passes(*row);
}

TEST(Filter, ComparesByType) {
  const std::string json =
      R"({"n":3,"s":"b","t":true,"z":null,"l":["x","y"],"o":{"k":1},"d":"2024-05-02T10:00:00Z"})";
  for (const char* filter : {"n = 3",
                             "n == 3.0",
                             "n >= 3",
                             "n > -1",
                             "n < 3.5",
                             "n != 4",
                             "s = \"b\"",
                             "s = 'b'",
                             "s = b",
                             "s > \"a\"",
                             "s <= \"b\"",
                             "t = true",
                             "t != false",
                             "z = null",
                             "missing = null",
                             "n != null",
                             "l : \"x\"",
                             "l = \"y\"",
                             "l:*",
                             "exists(l)",
                             "exists(o.k)",
                             "o:\"k\"",
                             "o.k = 1",
                             "NOT o.k = 2",
                             "-n = 4",
                             "n IN (1, 2, 3)",
                             "n NOT IN (1, 2)",
                             "s IN (\"a\", b)",
                             "z IN (1, null)",
                             "d > \"2024-05-02\"",
                             "d < \"2024-05-03\"",
                             "d = \"2024-05-02T12:00:00+02:00\"",
                             "d >= 2024-05-02",
                             "s = \"*\"",
                             "d = \"2024-*Z\"",
                             "",
                             "*",
                             " * ",
                             "n = 3 AND s = \"b\"",
                             "n = 3 s = \"b\"",
                             "n = 4 OR s = \"b\"",
                             "(n = 4 OR s = b) AND t = true",
                             "l != \"z\""}) {
    EXPECT_TRUE(Passes(filter, json)) << filter;
  }
  for (const char* filter : {"n = 4",           "n > 3",           "s = \"B\"",
                             "s != \"b\"",      "t = false",       "z != null",
                             "missing != 3",    "missing = 3",     "exists(z)",
                             "exists(missing)", "l : \"z\"",       "l != \"x\"",
                             "o:\"j\"",         "NOT n = 3",       "- n = 3",
                             "n IN (1, 2)",     "n NOT IN (3)",    "d > \"2024-05-03\"",
                             "s = \"*c\"",      "missing = \"*\"", "s > \"2020-01-01\""}) {
    EXPECT_FALSE(Passes(filter, json)) << filter;
  }
}

// https://google.aip.dev/160: OR has precedence over AND.
TEST(Filter, OrBindsTighterThanAnd) {
  EXPECT_FALSE(Passes("a = 1 OR b = 1 AND c = 1", R"({"a":1,"b":0,"c":0})"));
  EXPECT_TRUE(Passes("(a = 1) OR (b = 1 AND c = 1)", R"({"a":1,"b":0,"c":0})"));
  EXPECT_TRUE(Passes("a = 1 AND b = 1 OR c = 1", R"({"a":1,"b":0,"c":1})"));
}

TEST(Filter, NamesInQuotesAndDots) {
  EXPECT_TRUE(Passes("\"first name\" = \"x\"", R"({"first name":"x"})"));
  EXPECT_TRUE(Passes("author.\"last.name\" = 1", R"({"author":{"last.name":1}})"));
  EXPECT_FALSE(Passes("author.last.name = 1", R"({"author":{"last.name":1}})"));
  EXPECT_TRUE(Passes("naïve = \"é\"", R"({"naïve":"é"})"));
  EXPECT_TRUE(Passes(R"(s = "a\"b\\c\*")", R"({"s":"a\"b\\c*"})"));
  EXPECT_FALSE(Passes(R"(s = "a\*")", R"({"s":"ab"})"));
  EXPECT_TRUE(Passes("a-b = 1", R"({"a-b":1})"));
  EXPECT_TRUE(Passes("\"AND\" = 1", R"({"AND":1})"));
}

TEST(Filter, ErrorsNameTheColumn) {
  const auto error = [](const std::string& text) {
    const auto filter = Filter::Parse(text);
    EXPECT_FALSE(filter.ok()) << text;
    EXPECT_EQ(filter.status().code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(filter.status().message());
  };
  EXPECT_THAT(error("year >"), StartsWith("column 7: expected a value, found the end"));
  EXPECT_THAT(error("year > > 3"), StartsWith("column 8: "));
  EXPECT_THAT(error("year"), StartsWith("column 5: expected a comparison"));
  EXPECT_THAT(error("a = 1 and b = 2"), HasSubstr("written in capitals"));
  EXPECT_THAT(error("a = \"x"), StartsWith("column 5: this \" is not closed"));
  EXPECT_THAT(error("é = \"x"), StartsWith("column 5: this"));
  EXPECT_THAT(error("a = \"\\q\""), StartsWith("column 6: "));
  EXPECT_THAT(error("(a = 1"), StartsWith("column 7: expected `)`"));
  EXPECT_THAT(error("a = 1)"), StartsWith("column 6: expected the end"));
  EXPECT_THAT(error("a ! 1"), StartsWith("column 3: "));
  EXPECT_THAT(error("a & 1"), StartsWith("column 3: "));
  EXPECT_THAT(error("a IN ()"), StartsWith("column 7: "));
  EXPECT_THAT(error("a IN 1"), StartsWith("column 6: "));
  EXPECT_THAT(error("a < true"), HasSubstr("no order"));
  EXPECT_THAT(error("a < null"), HasSubstr("no order"));
  EXPECT_THAT(error("a < \"x*\""), HasSubstr("wildcards"));
  EXPECT_THAT(error("near(a)"), HasSubstr("there is no function `near`"));
  EXPECT_THAT(error("AND"), StartsWith("column 1: "));
  EXPECT_THAT(error("* AND a = 1"), StartsWith("column 1: "));
  EXPECT_THAT(error("a = 1e999"), HasSubstr("too large"));
  EXPECT_THAT(error("a.= 1"), StartsWith("column 3: "));
  EXPECT_THAT(error("a = (1 OR 2)"), HasSubstr("FIELD IN"));
  EXPECT_THAT(error(std::string(33 << 10, ' ')), HasSubstr("bytes"));
  EXPECT_THAT(error(absl::StrCat(std::string(100, '('), "a = 1", std::string(100, ')'))),
              HasSubstr("deep"));
  std::string nots;
  for (int i = 0; i < 5000; ++i) nots += "NOT ";
  EXPECT_THAT(error(nots + "a = 1"), HasSubstr("deep"));
  std::string many = "a IN (0";
  for (int i = 0; i < 2500; ++i) absl::StrAppend(&many, ",", i);
  EXPECT_THAT(error(many + ")"), HasSubstr("2000 conditions"));
}

TEST(Filter, SurvivesAnyBytes) {
  RandomFields random(3);
  int good = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string text = random.Filter();
    const size_t edits = random.Below(4);
    for (size_t e = 0; e < edits && !text.empty(); ++e) {
      const size_t at = random.Below(text.size());
      switch (random.Below(3)) {
        case 0:
          text[at] = static_cast<char>(random.Below(256));
          break;
        case 1:
          text.erase(at, 1 + random.Below(5));
          break;
        default:
          text.insert(at, 1, "()\"'\\.,=<>!:*-&AN \xff\xc3"[random.Below(20)]);
      }
    }
    const auto filter = Filter::Parse(text);
    if (filter.ok()) {
      ++good;
      (*filter)->Passes(*ReadMetadata(random.Json()));
    } else {
      ASSERT_THAT(std::string(filter.status().message()), StartsWith("column ")) << text;
    }
  }
  EXPECT_GT(good, 5000);
  EXPECT_LT(good, 29000);
}

TEST(Filter, TypesThatAFieldNeverHas) {
  const auto filter = Filter::Parse("lang = 3 OR year > 2000");
  ASSERT_TRUE(filter.ok());
  ASSERT_EQ((*filter)->typed().size(), 2u);
  EXPECT_TRUE((*filter)->CheckTypes({0, 0}).ok());  // nobody has the field yet
  EXPECT_TRUE(
      (*filter)->CheckTypes({MaskOf(ValueType::kNumber) | MaskOf(ValueType::kString), 0}).ok());
  const absl::Status status =
      (*filter)->CheckTypes({MaskOf(ValueType::kString), MaskOf(ValueType::kNumber)});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), StartsWith("column 1: field `lang` has texts"));
  EXPECT_THAT(std::string((*filter)->CheckTypes({0, MaskOf(ValueType::kString)}).message()),
              StartsWith("column 13: "));
}

TEST(FilterTest, CountsWhatADocumentIsComparedWith) {
  const auto comparisons = [](const char* text) {
    const auto filter = Filter::Parse(text);
    EXPECT_TRUE(filter.ok()) << filter.status();
    return (*filter)->comparisons();
  };
  EXPECT_EQ(comparisons("*"), 0);
  EXPECT_EQ(comparisons("exists(a)"), 1);
  EXPECT_EQ(comparisons("a = 1 AND NOT (b < 2 OR c:*)"), 3);
  EXPECT_EQ(comparisons("a IN (1, 2, 3) AND b = 4"), 4);
}

}  // namespace
}  // namespace vecino::fields
