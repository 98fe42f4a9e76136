#include "server/passages/text_splitter.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vecino::passages {
namespace {

// Words, and each other character that is no space, as a token; more exactly: runs of ASCII letters
// and digits count one for every four bytes, other bytes that begin a character one each.
int Tokens(std::string_view text) {
  int tokens = 0;
  size_t run = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 && byte < 0x80) {
      tokens += run++ % 4 == 0;
      continue;
    }
    run = 0;
    if ((byte & 0xC0) != 0x80 && std::isspace(byte) == 0) ++tokens;
  }
  return tokens;
}

absl::StatusOr<int> Count(std::string_view text) { return Tokens(text); }

bool BeginsCharacter(std::string_view text, size_t at) {
  return at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
}

// What holds of every split.
std::vector<std::string> Split(const std::string& text, int max, int overlap) {
  const auto ranges = SplitText(text, {.max_tokens = max, .overlap_tokens = overlap}, Count);
  EXPECT_TRUE(ranges.ok()) << ranges.status();
  std::vector<std::string> parts;
  if (!ranges.ok()) return parts;
  EXPECT_EQ(ranges->empty(), text.empty());
  for (size_t i = 0; i < ranges->size(); ++i) {
    const TextRange& range = (*ranges)[i];
    EXPECT_LT(range.begin, range.end);
    EXPECT_LE(range.end, text.size());
    EXPECT_TRUE(BeginsCharacter(text, range.begin) && BeginsCharacter(text, range.end));
    const TextRange before = i == 0 ? TextRange() : (*ranges)[i - 1];
    EXPECT_LE(range.begin, before.end);  // every byte is in one
    EXPECT_GT(range.end, before.end);
    if (i > 0) {
      EXPECT_GT(range.begin, before.begin);
      const std::string common = text.substr(range.begin, before.end - range.begin);
      EXPECT_LE(Tokens(common), overlap);
    }
    parts.push_back(text.substr(range.begin, range.end - range.begin));
    EXPECT_LE(Tokens(parts.back()), max) << parts.back();
  }
  if (!text.empty()) {
    EXPECT_EQ(ranges->front().begin, 0u);
    EXPECT_EQ(ranges->back().end, text.size());
  }
  return parts;
}

TEST(TextSplitterTest, WhatFitsIsOnePassage) {
  EXPECT_TRUE(Split("", 8, 0).empty());
  EXPECT_EQ(Split("One. Two. Tri.", 8, 2), (std::vector<std::string>{"One. Two. Tri."}));
  EXPECT_EQ(Split(" \r\n ", 8, 2), (std::vector<std::string>{" \r\n "}));
}

TEST(TextSplitterTest, WholeSentencesArePackedAndTheLastComeAgain) {
  // Four tokens each.
  const std::string a = "Aaa bbb ccc. ", b = "Ddd eee fff! ", c = "Ggg hhh iii? ",
                    d = "Jjj kkk lll.";
  const std::string text = a + b + c + d;
  EXPECT_EQ(Split(text, 8, 0), (std::vector<std::string>{a + b, c + d}));
  EXPECT_EQ(Split(text, 9, 4), (std::vector<std::string>{a + b, b + c, c + d}));
  EXPECT_EQ(Split(text, 12, 5), (std::vector<std::string>{a + b + c, c + d}));
  // An overlap that no sentence fits into is none.
  EXPECT_EQ(Split(text, 8, 3), (std::vector<std::string>{a + b, c + d}));
}

TEST(TextSplitterTest, LinesEndSentencesAndBlankOnesStay) {
  EXPECT_EQ(Split("aaa bbb ccc ddd\r\n\r\neee fff ggg hhh\r\niii jjj kkk lll\r\n", 8, 0),
            (std::vector<std::string>{"aaa bbb ccc ddd\r\n\r\neee fff ggg hhh\r\n",
                                      "iii jjj kkk lll\r\n"}));
}

TEST(TextSplitterTest, LongSentencesAreCutBetweenWords) {
  std::string text;
  for (int i = 0; i < 100; ++i) absl::StrAppend(&text, i == 0 ? "" : " ", "w", i % 10);
  const auto parts = Split(text, 10, 0);
  EXPECT_EQ(parts.size(), 10u);
  EXPECT_EQ(parts[1], "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 ");
  // With an overlap they are cut into pieces that it can hold.
  const auto overlapping = Split(text, 24, 8);
  ASSERT_GT(overlapping.size(), 4u);
  EXPECT_EQ(overlapping[0].substr(48), overlapping[1].substr(0, 24));
  // A sentence beside it is not cut with it.
  const auto beside = Split("Aaa bbb. " + text + ". Ccc ddd.", 24, 8);
  EXPECT_TRUE(beside.front().starts_with("Aaa bbb. w0"));
  EXPECT_TRUE(beside.back().ends_with("Ccc ddd."));
}

TEST(TextSplitterTest, GiantWordsAreCutBetweenGraphemeClusters) {
  const auto ascii = Split(std::string(1000, 'x'), 16, 0);
  EXPECT_EQ(ascii.size(), 16u);  // of 64 bytes
  std::string families;
  const std::string family =
      "\U0001F468\u200D\U0001F469\u200D\U0001F467";  // five characters, one cluster
  for (int i = 0; i < 40; ++i) families += family;
  for (const std::string& part : Split(families, 16, 5)) EXPECT_EQ(part.size() % family.size(), 0u);
  // One cluster that is longer than a passage: between characters.
  std::string tower = "e";
  for (int i = 0; i < 100; ++i) tower += "\u0301";
  EXPECT_GT(Split(tower, 16, 0).size(), 5u);
}

TEST(TextSplitterTest, ChineseAndJapaneseSentences) {
  const std::string one = "今天天气很好。", two = "我们去公园散步吧！",
                    three = "你喜欢吃什么水果？";
  EXPECT_EQ(Split(one + two + three, 18, 0), (std::vector<std::string>{one + two, three}));
  std::string endless;
  for (int i = 0; i < 50; ++i) endless += "今天天气很好我们";
  EXPECT_GT(Split(endless, 24, 8).size(), 15u);
}

TEST(TextSplitterTest, TooManyPassages) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "Aaa bbb ccc ddd eee fff ggg. ";
  const auto split = [&](size_t most) {
    return SplitText(text, {.max_tokens = 8, .overlap_tokens = 0, .max_passages = most}, Count);
  };
  EXPECT_EQ(split(100)->size(), 100u);
  EXPECT_EQ(split(99).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(split(99).status().message().find("more than 99 passages"), std::string::npos);
}

TEST(TextSplitterTest, TheCountersErrorIsPassedOn) {
  const auto split = SplitText("A text.", {.max_tokens = 8}, [](std::string_view) {
    return absl::StatusOr<int>(absl::UnavailableError("gone"));
  });
  EXPECT_EQ(split.status(), absl::UnavailableError("gone"));
}

// Tokens that are more together than one by one: no passage is over the limit all the same.
TEST(TextSplitterTest, CountsThatDoNotAddUp) {
  const TokenCounter longer = [](std::string_view text) -> absl::StatusOr<int> {
    const int tokens = Tokens(text);
    return tokens + tokens / 4;
  };
  std::string text;
  for (int i = 0; i < 60; ++i) text += "Aaa bb, c. ";
  const auto ranges = SplitText(text, {.max_tokens = 20, .overlap_tokens = 6}, longer);
  ASSERT_TRUE(ranges.ok());
  for (const TextRange& range : *ranges) {
    EXPECT_LE(*longer(std::string_view(text).substr(range.begin, range.end - range.begin)), 20);
  }
  EXPECT_EQ(ranges->back().end, text.size());
}

TEST(TextSplitterTest, RandomTextsKeepTheRules) {
  std::mt19937 rng(7);
  const std::vector<std::string> pieces = {
      "a",      "word ",      "Sentence. ", "!",      "\n",    "\r\n", "。",
      "日本語", "\U0001F600", " ",          "\u0301", "x1,2 ", "\t",   "verylongwordwithoutanend"};
  for (int round = 0; round < 400; ++round) {
    std::string text;
    const size_t count = rng() % 200;
    for (size_t i = 0; i < count; ++i) text += pieces[rng() % pieces.size()];
    const int max = 8 + static_cast<int>(rng() % 40);
    Split(text, max, static_cast<int>(rng() % static_cast<uint32_t>((max + 1) / 2)));
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << "round " << round << ": " << text;
      return;
    }
  }
}

}  // namespace
}  // namespace vecino::passages
