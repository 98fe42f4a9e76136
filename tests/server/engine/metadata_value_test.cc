#include "server/engine/metadata_value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace vecino::engine {
namespace {

TEST(MetadataValueTest, FindsTextNumbersAndBooleans) {
  const char json[] =
      R"({"a":"x","b":2.5,"c":true,"d":false,"e":{"f":{"g":"deep"}},"h":-0,"n":1e3})";
  EXPECT_EQ(MetadataValue(json, "a"), GroupValue("x"));
  EXPECT_EQ(MetadataValue(json, "b"), GroupValue(2.5));
  EXPECT_EQ(MetadataValue(json, "c"), GroupValue(true));
  EXPECT_EQ(MetadataValue(json, "d"), GroupValue(false));
  EXPECT_EQ(MetadataValue(json, "e.f.g"), GroupValue("deep"));
  EXPECT_EQ(MetadataValue(json, "h"), GroupValue(0.0));
  EXPECT_FALSE(std::signbit(std::get<double>(MetadataValue(json, "h"))));
  EXPECT_EQ(MetadataValue(json, "n"), GroupValue(1000.0));
}

TEST(MetadataValueTest, NothingWhereThereIsNoSuchValue) {
  const char json[] = R"({"a":"x","e":{"f":1},"n":null,"l":[],"o":{}})";
  for (const char* path : {"b", "a.x", "e", "e.g", "e.f.g", "n", "l", "o", "l.x", "A", ""}) {
    EXPECT_EQ(MetadataValue(json, path), GroupValue()) << path;
  }
  EXPECT_EQ(MetadataValue("", "a"), GroupValue());
  EXPECT_EQ(MetadataValue("{}", "a"), GroupValue());
}

TEST(MetadataValueTest, OfAListTheFirstCounts) {
  const char json[] =
      R"({"t":["chess","go"],"n":[ [7], 8],"who":[{"name":"Ada"},{"name":"Bob"}],"m":[null,1]})";
  EXPECT_EQ(MetadataValue(json, "t"), GroupValue("chess"));
  EXPECT_EQ(MetadataValue(json, "n"), GroupValue(7.0));
  EXPECT_EQ(MetadataValue(json, "who.name"), GroupValue("Ada"));
  EXPECT_EQ(MetadataValue(json, "m"), GroupValue());
}

// What stands in strings and other fields is not taken for structure.
TEST(MetadataValueTest, GoesOverWhatItDoesNotWant) {
  const char json[] =
      R"( { "x" : "\"a\":1,}]" , "y" : [ { "a" : 5 } , "]" ] , "z" : { "a" : "{" } , "a" : "yes" } )";
  EXPECT_EQ(MetadataValue(json, "a"), GroupValue("yes"));
  EXPECT_EQ(MetadataValue(json, "z.a"), GroupValue("{"));
}

TEST(MetadataValueTest, Escapes) {
  const char json[] =
      R"({"k\u00e9y":"a\"b\\c\/d\b\f\n\r\t\u0041\u20ac\ud83d\ude00","\u0001":"one"})";
  EXPECT_EQ(MetadataValue(json, "k\xc3\xa9y"),
            GroupValue("a\"b\\c/d\b\f\n\r\tA\xe2\x82\xac\xf0\x9f\x98\x80"));
  EXPECT_EQ(MetadataValue(json, "\x01"), GroupValue("one"));
}

// No text can make it read beyond the end; run under the sanitizers.
TEST(MetadataValueTest, TextThatIsCutShort) {
  const std::string json = R"({"b":[1,{"c":"\u00e9\ud83d\ude00"}],"a":{"d":"x\n"}})";
  for (size_t end = 0; end <= json.size(); ++end) {
    const std::string cut = json.substr(0, end);
    for (const char* path : {"a.d", "b", "b.c", "c"}) {
      const GroupValue value = MetadataValue(std::string_view(cut.data(), cut.size()), path);
      const bool whole = end == json.size() && std::string_view(path) == "a.d";
      EXPECT_TRUE(!whole || value == GroupValue("x\n"));
    }
  }
  for (const char* bad : {R"({"a":"\u12"})", R"({"a":"\ud83d"})", R"({"a":"\ud83d\u"})", R"({"a")",
                          R"({"a":)", R"({"a":"\)", "[[[[", R"({"a":nan})", R"({"a":inf})"}) {
    MetadataValue(bad, "a");
  }
  EXPECT_EQ(MetadataValue(R"({"a":nan})", "a"), GroupValue());
}

}  // namespace
}  // namespace vecino::engine
