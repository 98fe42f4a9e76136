#include "client/utf8.h"

#include <gtest/gtest.h>

namespace vecino::internal {
namespace {

TEST(Utf8Test, TakesWhatUnicodeTakes) {
  for (const char* text : {"", "ascii", "é", "€", "😀", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF",
                           "\xEE\x80\x80", "\xC2\x80", "\xE0\xA0\x80", "\xF0\x90\x80\x80"}) {
    EXPECT_TRUE(IsValidUtf8(text)) << text;
  }
}

TEST(Utf8Test, RefusesTheRest) {
  for (const char* text : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",
                           "\xED\xA0\x80", "\xED\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
                           "\xFF", "a\xC3", "\xE2\x82", "\xE2\x82z", "\xF0\x9F\x98"}) {
    EXPECT_FALSE(IsValidUtf8(text));
  }
}

}  // namespace
}  // namespace vecino::internal
