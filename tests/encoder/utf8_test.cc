#include "encoder/utf8.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace vecino::encoder {
namespace {

TEST(Utf8ValidityTest, AcceptsTheBoundsOfEveryLength) {
  for (const std::string text : {"", "a", "\x7f", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80",
                                 "\xED\x9F\xBF", "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80",
                                 "\xF4\x8F\xBF\xBF", "plain ASCII of more than eight bytes"}) {
    EXPECT_EQ(FindInvalidUtf8(text), std::nullopt) << text;
  }
  EXPECT_EQ(FindInvalidUtf8(std::string_view("a\0b", 3)), std::nullopt);
}

TEST(Utf8ValidityTest, NamesTheFirstBadByte) {
  const std::vector<std::string> bad = {
      "\x80",              // continuation alone
      "\xC0\x80",          // overlong
      "\xC1\xBF",          // overlong
      "\xE0\x9F\xBF",      // overlong
      "\xF0\x8F\xBF\xBF",  // overlong
      "\xED\xA0\x80",      // surrogate
      "\xF4\x90\x80\x80",  // above U+10FFFF
      "\xF5\x80\x80\x80",
      "\xFF",
      "\xE2\x82",  // cut off
      "\xC3",
      "\xF0\x9F\x98",
  };
  for (const std::string& text : bad) {
    for (const size_t offset : {0, 1, 7, 8, 9, 40}) {
      const std::string prefix(offset, 'x');
      EXPECT_EQ(FindInvalidUtf8(prefix + text), offset);
      EXPECT_EQ(FindInvalidUtf8(prefix + text + "and more behind it"), offset);
    }
  }
}

TEST(Utf8Test, RepairsEachMaximalPartOnce) {
  EXPECT_EQ(RepairUtf8(""), "");
  EXPECT_EQ(RepairUtf8("caf\u00e9"), "caf\u00e9");
  EXPECT_EQ(RepairUtf8("a\xff\xe2\x82z\xf0\x9f\x98"), "a\ufffd\ufffdz\ufffd");
}

}  // namespace
}  // namespace vecino::encoder
