#include "server/engine/filter_texts.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace vecino::engine {
namespace {

TEST(FilterTextsTest, KeepsWhatItReads) {
  FilterTexts texts;
  EXPECT_EQ(texts.Find("a = 1"), nullptr);
  const auto read = texts.Read("a = 1");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(texts.Find("a = 1"), *read);
  EXPECT_EQ(*texts.Read("a = 1"), *read);
  EXPECT_EQ(texts.Find("a = 2"), nullptr);
}

TEST(FilterTextsTest, KeepsNothingThatIsWrongOrLong) {
  FilterTexts texts;
  EXPECT_EQ(texts.Read("a =").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(texts.Find("a ="), nullptr);
  const std::string longest = absl::StrCat("a = 1", std::string(FilterTexts::kMostBytes - 5, ' '));
  ASSERT_TRUE(texts.Read(longest).ok());
  EXPECT_NE(texts.Find(longest), nullptr);
  ASSERT_TRUE(texts.Read(longest + " ").ok());
  EXPECT_EQ(texts.Find(longest + " "), nullptr);
}

TEST(FilterTextsTest, TheLeastRecentlyUsedGo) {
  FilterTexts texts;
  for (size_t i = 0; i < FilterTexts::kMost; ++i) {
    ASSERT_TRUE(texts.Read(absl::StrCat("a = ", i)).ok());
  }
  EXPECT_NE(texts.Find("a = 0"), nullptr);  // used now
  ASSERT_TRUE(texts.Read("b = 1").ok());
  EXPECT_NE(texts.Find("a = 0"), nullptr);
  EXPECT_EQ(texts.Find("a = 1"), nullptr);
  EXPECT_NE(texts.Find("b = 1"), nullptr);
}

TEST(FilterTextsTest, LongOnesMakeRoomToo) {
  FilterTexts texts;
  const std::string spaces(FilterTexts::kMostBytes - 8, ' ');
  const size_t most = FilterTexts::kMostOfAll / FilterTexts::kMostBytes;
  for (size_t i = 0; i <= 2 * most; ++i) {
    ASSERT_TRUE(texts.Read(absl::StrCat("a =", spaces, i)).ok());
  }
  EXPECT_EQ(texts.Find(absl::StrCat("a =", spaces, 0)), nullptr);
  EXPECT_NE(texts.Find(absl::StrCat("a =", spaces, 2 * most)), nullptr);
  EXPECT_NE(texts.Find(absl::StrCat("a =", spaces, most + 2)), nullptr);
}

}  // namespace
}  // namespace vecino::engine
