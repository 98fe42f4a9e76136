#include "server/engine/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace vecino::engine {
namespace {

TEST(Utf8, EveryScalarValueIsTextAndNoSurrogateIs) {
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    std::string s = "a";
    if (c < 0x80) {
      s += static_cast<char>(c);
    } else if (c < 0x800) {
      s += static_cast<char>(0xC0 | c >> 6);
      s += static_cast<char>(0x80 | (c & 63));
    } else if (c < 0x10000) {
      s += static_cast<char>(0xE0 | c >> 12);
      s += static_cast<char>(0x80 | (c >> 6 & 63));
      s += static_cast<char>(0x80 | (c & 63));
    } else {
      s += static_cast<char>(0xF0 | c >> 18);
      s += static_cast<char>(0x80 | (c >> 12 & 63));
      s += static_cast<char>(0x80 | (c >> 6 & 63));
      s += static_cast<char>(0x80 | (c & 63));
    }
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    ASSERT_EQ(FindInvalidUtf8(s).has_value(), surrogate) << c;
    if (c >= 0x80) {
      s.pop_back();  // cut short
      ASSERT_EQ(FindInvalidUtf8(s), 1u) << c;
    }
  }
}

TEST(Utf8, NamesTheFirstBadByte) {
  EXPECT_EQ(FindInvalidUtf8(""), std::nullopt);
  EXPECT_EQ(FindInvalidUtf8("abcdefghijklmnop\xff"), 16u);
  EXPECT_EQ(FindInvalidUtf8("\x80"), 0u);              // a continuation alone
  EXPECT_EQ(FindInvalidUtf8("ab\xc0\x80"), 2u);        // overlong NUL
  EXPECT_EQ(FindInvalidUtf8("\xe0\x9f\xbf"), 0u);      // overlong
  EXPECT_EQ(FindInvalidUtf8("\xf0\x8f\xbf\xbf"), 0u);  // overlong
  EXPECT_EQ(FindInvalidUtf8("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(FindInvalidUtf8("\xf5\x80\x80\x80"), 0u);
  EXPECT_EQ(FindInvalidUtf8("\xc3\xa9\xc3(........"), 2u);
}

}  // namespace
}  // namespace vecino::engine
