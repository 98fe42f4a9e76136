#include "server/rpc/prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "server/engine/types.h"
#include "server/engine/utf8.h"

namespace vecino::rpc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr size_t kManyBytes = std::numeric_limits<size_t>::max() / 2;

// One token for each word.
absl::StatusOr<int> Words(std::string_view text) {
  int words = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto space = [](char c) { return c == ' ' || c == '\n'; };
    words += !space(text[i]) && (i == 0 || space(text[i - 1]));
  }
  return words;
}

PromptTemplate Form(std::string_view text = "S: {sources} Q: {question}") {
  auto form = PromptTemplate::Parse(text);
  EXPECT_TRUE(form.ok()) << form.status();
  return *form;
}

Prompt Build(const std::vector<std::string_view>& sources, int tokens, size_t bytes = kManyBytes,
             const TokenCounter& count = Words) {
  auto prompt = BuildPrompt(Form(), "why?", sources, {tokens, bytes}, count);
  EXPECT_TRUE(prompt.ok()) << prompt.status();
  if (!prompt.ok()) return {};
  EXPECT_LE(prompt->token_count, tokens);
  EXPECT_LE(prompt->text.size(), bytes);
  EXPECT_FALSE(engine::FindInvalidUtf8(prompt->text).has_value()) << prompt->text;
  return *std::move(prompt);
}

std::string Repeat(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

TEST(PromptTemplateTest, BothPlaceholdersOnceEach) {
  const auto refused = [](std::string_view text, const char* why) {
    const auto form = PromptTemplate::Parse(text);
    ASSERT_FALSE(form.ok()) << text;
    EXPECT_EQ(engine::FieldOf(form.status()), "prompt_template");
    EXPECT_THAT(std::string(form.status().message()), HasSubstr(why));
  };
  refused("", "lacks {sources}");
  refused("{sources}", "lacks {question}");
  refused("{question} {Sources}", "lacks {sources}");
  refused("{sources}{question}{sources}", "{sources} more than once");
  refused("{question}{sources}{question}", "{question} more than once");
  refused("{sources}{question}" + std::string(kMaxTemplateBytes, 'x'), "65536");
  EXPECT_EQ(Form("a{sources}b{question}c").Fill("1", "2"), "a1b2c");
  EXPECT_EQ(Form("a{question}b{sources}c").Fill("1", "2"), "a2b1c");
  EXPECT_EQ(Form("{question}{sources}").Fill("1", "2"), "21");
  EXPECT_TRUE(PromptTemplate::Parse(DefaultPromptTemplate()).ok());
}

TEST(PromptTemplateTest, WhatIsPutInIsNotLookedAtAgain) {
  EXPECT_EQ(Form("{sources}|{question}").Fill("{question}", "{sources}"), "{question}|{sources}");
  EXPECT_EQ(Form("{question}|{sources}").Fill("{question}{sources}", "{question}"),
            "{question}|{question}{sources}");
  const std::string_view sources[] = {"{question} and {sources} and {question}"};
  const auto prompt = BuildPrompt(Form(), "{sources}{question}", sources, {100, kManyBytes}, Words);
  ASSERT_TRUE(prompt.ok());
  EXPECT_EQ(prompt->text, "S: [1] {question} and {sources} and {question} Q: {sources}{question}");
}

TEST(BuildPromptTest, SourcesAreNumberedInOrder) {
  const Prompt prompt = Build({"one", " two words \n", "three"}, 100);
  EXPECT_EQ(prompt.text, "S: [1] one\n\n[2] two words\n\n[3] three Q: why?");
  EXPECT_THAT(prompt.sources, ElementsAre(0, 1, 2));
  EXPECT_EQ(prompt.token_count, 10);
}

TEST(BuildPromptTest, WithoutSourcesItSaysSo) {
  EXPECT_EQ(Build({}, 100).text, "S: (none) Q: why?");
  const Prompt blank = Build({"", " \n\t "}, 100);
  EXPECT_EQ(blank.text, "S: (none) Q: why?");
  EXPECT_THAT(blank.sources, IsEmpty());
}

TEST(BuildPromptTest, WhatDoesNotFitIsLeftOutWholeAndLaterOnesAreNot) {
  const std::string long_text = Repeat("word ", 50);
  // Besides the four words around them (with `(none)`), each source takes its words and its number.
  const Prompt prompt = Build({"a b c", long_text, "d", "", "e f"}, 4 + 4 + 2 + 3);
  EXPECT_EQ(prompt.text, "S: [1] a b c\n\n[2] d\n\n[3] e f Q: why?");
  EXPECT_THAT(prompt.sources, ElementsAre(0, 2, 4));
  EXPECT_THAT(Build({"a b c", long_text, "d", "", "e f"}, 4 + 4 + 2 + 2).sources,
              ElementsAre(0, 2));
}

TEST(BuildPromptTest, EveryBudgetHoldsAndMoreOfItTakesMore) {
  std::vector<std::string> texts;
  for (int i = 1; i <= 20; ++i) texts.push_back(Repeat("wörd ", i * 7 % 20 + 1));
  const std::vector<std::string_view> sources(texts.begin(), texts.end());
  size_t most = 0;
  for (int budget = 5; budget < 300; ++budget) {
    const Prompt prompt = Build(sources, budget);
    most = std::max(most, prompt.sources.size());
  }
  EXPECT_EQ(most, texts.size());
  for (size_t bytes = 18; bytes < 2000; bytes += 13) Build(sources, 1000, bytes);
}

TEST(BuildPromptTest, TheFirstIsCutAtASentence) {
  const std::string text = "First one here. Second one here! Third " + Repeat("word ", 30);
  const Prompt prompt = Build({text, "b"}, 20);
  EXPECT_EQ(prompt.text, "S: [1] First one here. Second one here! ...\n\n[2] b Q: why?");
  EXPECT_THAT(prompt.sources, ElementsAre(0, 1));
}

TEST(BuildPromptTest, OrAtAWordWhereASentenceEndsTooSoon) {
  const Prompt prompt = Build({"Hi. 3.14 " + Repeat("word ", 30)}, 20);
  EXPECT_THAT(prompt.text, HasSubstr("S: [1] Hi. 3.14 word word "));
  EXPECT_THAT(prompt.text, HasSubstr(" word ... Q: why?"));
  // All but a few of the tokens are used.
  EXPECT_GE(prompt.token_count, 16);
}

TEST(BuildPromptTest, OnlyTheFirstIsCut) {
  const std::string text = "A sentence. " + Repeat("word ", 30);
  EXPECT_EQ(Build({"a", text}, 20).text, "S: [1] a Q: why?");
  // Where nothing of it fits, the others go in.
  EXPECT_EQ(Build({absl::StrCat(std::string(63, 'x'), " ", text), "b"}, 8).text,
            "S: [1] b Q: why?");
}

TEST(BuildPromptTest, CharactersStayWhole) {
  const auto bytes = [](std::string_view text) -> absl::StatusOr<int> {
    return static_cast<int>(text.size());
  };
  for (const std::string_view unit : {"猫", "é", "🐈", "e\xCC\x81", "我喜欢猫。"}) {
    const std::string text = Repeat(unit, 100);
    for (int budget = 30; budget < 200; ++budget) {
      const Prompt prompt = Build({text}, budget, kManyBytes, bytes);  // checks UTF-8
      if (budget <= 60) continue;
      EXPECT_THAT(prompt.sources, SizeIs(1)) << unit << " " << budget;
    }
  }
  const Prompt sentences = Build({Repeat("我喜欢猫。", 100)}, 100, kManyBytes, bytes);
  EXPECT_THAT(sentences.text, HasSubstr("猫。 ..."));
}

TEST(BuildPromptTest, LongRunsCountByTheirBytes) {
  int64_t counted = 0;
  const auto unknown = [&](std::string_view text) -> absl::StatusOr<int> {
    counted += static_cast<int64_t>(text.size());
    return Words(text);
  };
  const std::string base64(1 << 20, 'A');  // one word
  const Prompt prompt = Build({base64, "b"}, 100, kManyBytes, unknown);
  EXPECT_THAT(prompt.sources, ElementsAre(0, 1));
  EXPECT_LE(prompt.text.size(), 100 * kMostBytesPerToken);
  EXPECT_LT(counted, 100'000);  // what cannot fit is not counted
}

TEST(BuildPromptTest, TemplateAndQuestionMustFit) {
  const auto tokens = BuildPrompt(Form(), Repeat("word ", 100), {}, {64, kManyBytes}, Words);
  EXPECT_EQ(engine::FieldOf(tokens.status()), "prompt_token_budget");
  EXPECT_THAT(std::string(tokens.status().message()), HasSubstr("103 tokens"));
  const auto bytes = BuildPrompt(Form(), Repeat("word ", 100), {}, {1000, 100}, Words);
  EXPECT_EQ(engine::FieldOf(bytes.status()), "prompt_template");
}

TEST(BuildPromptTest, ACounterThatIsNotAdditiveKeepsToTheBudget) {
  // As some subword tokenizers: a whole takes more than its parts.
  const auto odd = [](std::string_view text) -> absl::StatusOr<int> {
    const int words = *Words(text);
    return words + words / 5;
  };
  std::vector<std::string_view> sources(20, "one two three");
  for (int budget = 10; budget < 120; ++budget) Build(sources, budget, kManyBytes, odd);
}

TEST(BuildPromptTest, ErrorsOfTheCounterAreReturned) {
  int calls = 0;
  const auto fails = [&](std::string_view text) -> absl::StatusOr<int> {
    if (++calls > 2) return absl::CancelledError("gone");
    return Words(text);
  };
  const std::vector<std::string_view> sources(5, "a");
  EXPECT_TRUE(
      absl::IsCancelled(BuildPrompt(Form(), "q", sources, {100, kManyBytes}, fails).status()));
}

}  // namespace
}  // namespace vecino::rpc
