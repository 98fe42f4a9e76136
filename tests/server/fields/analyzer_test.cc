#include "server/fields/analyzer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

namespace vecino::fields {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Terms(std::string_view text) {
  std::vector<std::string> terms;
  Analyzer::ForThisThread().Analyze(text, [&](std::string_view term) { terms.emplace_back(term); });
  return terms;
}

TEST(Analyzer, CutsFoldsAndStems) {
  EXPECT_THAT(Terms("The Quick-brown FOXES were jumping!"),
              ElementsAre("the", "quick", "brown", "fox", "were", "jump"));
  EXPECT_THAT(Terms("play chess"), ElementsAre("play", "chess"));
  EXPECT_THAT(Terms("plays, played; playing."), ElementsAre("play", "play", "play"));
  EXPECT_THAT(Terms(""), IsEmpty());
  EXPECT_THAT(Terms(" \t\n -- ... ,,, ''' "), IsEmpty());
}

TEST(Analyzer, StemsAreThoseOfPorter2) {
  // From the sample vocabulary of https://snowballstem.org/algorithms/english/stemmer.html.
  EXPECT_THAT(Terms("consistency consolation generously knitted happiness"),
              ElementsAre("consist", "consol", "generous", "knit", "happi"));
  // Twice: the second time from memory.
  EXPECT_THAT(Terms("consistency consistency"), ElementsAre("consist", "consist"));
}

TEST(Analyzer, PunctuationInsideOfWords) {
  EXPECT_THAT(Terms("don't O'Reilly's dogs'"), ElementsAre("don't", "o'reilli", "dog"));
  EXPECT_THAT(Terms("3.14 1,000 v2.0 1.x"), ElementsAre("3.14", "1,000", "v2.0", "1", "x"));
  EXPECT_THAT(Terms("example.com e.g. a:b"), ElementsAre("exampl", "com", "e", "g", "a", "b"));
  EXPECT_THAT(Terms("snake_case libfoo2++ 'quoted'"), ElementsAre("snake_cas", "libfoo2", "quot"));
}

TEST(Analyzer, FoldsUnicode) {
  EXPECT_THAT(Terms("Straße ÉCOLE École"), ElementsAre("strass", "école", "école"));
  // Composed and decomposed are the same.
  EXPECT_EQ(Terms("caf\u00e9 noir"), Terms("cafe\u0301 noir"));
  // Full width, ligatures, soft hyphens, typographic apostrophes.
  EXPECT_THAT(Terms("ＡＢＣ１２３"), ElementsAre("abc123"));
  EXPECT_THAT(Terms("ﬁshing so\u00adlar"), ElementsAre("fish", "solar"));
  EXPECT_EQ(Terms("don\u2019t l\u2019été"), (std::vector<std::string>{"don't", "l'été"}));
  EXPECT_EQ(Terms("l'été"), Terms("l\u2019été"));
  EXPECT_THAT(Terms("ПРИВЕТ мир"), ElementsAre("привет", "мир"));
  EXPECT_THAT(Terms("naïve—approach…ends"), ElementsAre("naïv", "approach", "end"));
}

TEST(Analyzer, EastAsianInPairs) {
  EXPECT_THAT(Terms("中国人"), ElementsAre("中国", "国人"));
  EXPECT_THAT(Terms("中"), ElementsAre("中"));
  EXPECT_THAT(Terms("我用Python写"), ElementsAre("我用", "python", "写"));
  EXPECT_THAT(Terms("データベース"), ElementsAre("デー", "ータ", "タベ", "ベー", "ース"));
  EXPECT_THAT(Terms("한국어"), ElementsAre("한국", "국어"));
}

TEST(Analyzer, ScriptsWithoutSpacesByDictionary) {
  EXPECT_THAT(Terms("ฉันรักแมว"), ElementsAre("ฉัน", "รัก", "แมว"));
}

TEST(Analyzer, MarksAloneAndEmojiAreNoWords) {
  EXPECT_THAT(Terms("\u0301 👍 ©"), IsEmpty());
  EXPECT_THAT(Terms("ok👍ok"), ElementsAre("ok", "ok"));
}

TEST(Analyzer, LongWordsAreCutAtACharacter) {
  EXPECT_THAT(Terms(std::string(1000, 'q')), ElementsAre(std::string(64, 'q')));
  std::string umlauts;
  for (int i = 0; i < 100; ++i) umlauts += "ü";
  EXPECT_THAT(Terms("x" + umlauts), ElementsAre("x" + umlauts.substr(0, 62)));
}

TEST(Analyzer, AnyBytes) {
  EXPECT_THAT(Terms("one\xff\xfetwo\xc3"), ElementsAre("one", "two"));
  std::mt19937 rng(1);
  const std::vector<std::string> pieces = {"a",
                                           "Z",
                                           "9",
                                           "'",
                                           ".",
                                           ",",
                                           " ",
                                           "中",
                                           "한",
                                           "ก",
                                           "é",
                                           "\u0301",
                                           "\u2019",
                                           "😀",
                                           "\xff",
                                           "\xe4\xb8",
                                           "ing",
                                           "_",
                                           std::string(1, '\0')};
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    const auto length = rng() % 40;
    for (unsigned i = 0; i < length; ++i) text += pieces[rng() % pieces.size()];
    for (const std::string& term : Terms(text)) {
      ASSERT_GE(term.size(), 1u);
      ASSERT_LE(term.size(), kMaxTermBytes);
    }
  }
}

// What stands around a word changes nothing about it, also where another path cuts it.
TEST(Analyzer, AsciiIsCutAlikeBesideUnicode) {
  std::mt19937 rng(2);
  const std::string letters = "aB3'._, -s";
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    const auto length = 1 + rng() % 12;
    for (unsigned i = 0; i < length; ++i) text += letters[rng() % letters.size()];
    std::vector<std::string> expected = Terms(text);
    // A stretch beyond ASCII in one word with it, though cut from it.
    std::vector<std::string> got = Terms("€" + text + "€");
    ASSERT_EQ(got, expected) << text;
  }
}

TEST(Analyzer, EachThreadHasItsOwn) {
  const std::vector<std::string> expected = Terms("running runners ran");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 2000; ++round) {
        EXPECT_EQ(Terms("running runners ran"), expected);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace vecino::fields
