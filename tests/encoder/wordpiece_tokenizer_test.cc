#include "encoder/wordpiece_tokenizer.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vecino::encoder {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A vocabulary made of the five special tokens, ids 0 to 4, and these from id 5 on.
class Vocabulary {
 public:
  explicit Vocabulary(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
    tokens_.insert(tokens_.begin(), {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"});
  }

  std::unique_ptr<Tokenizer> Make(const WordPieceOptions& options = {}) const {
    std::string text;
    for (const std::string& token : tokens_) text += token + "\n";
    auto tokenizer = MakeWordPieceTokenizer(text, options);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return *std::move(tokenizer);
  }

  // The tokens of `text` between [CLS] and [SEP], joined by spaces.
  std::string Read(std::string_view text, const WordPieceOptions& options = {}) const {
    const Tokens tokens = Make(options)->Encode(text, 1000);
    EXPECT_EQ(tokens.count, tokens.ids.size());
    EXPECT_FALSE(tokens.truncated);
    EXPECT_EQ(tokens.ids.front(), 2);
    EXPECT_EQ(tokens.ids.back(), 3);
    std::string joined;
    for (size_t i = 1; i + 1 < tokens.ids.size(); ++i)
      joined += (i > 1 ? " " : "") + tokens_.at(tokens.ids[i]);
    return joined;
  }

 private:
  std::vector<std::string> tokens_;
};

const Vocabulary& Small() {
  static const Vocabulary* const vocabulary =
      new Vocabulary({"un",   "##aff", "##able", "##a", "##b",      "a",      "b",       "e",
                      "the",  "cafe",  "café",   "The", "istanbul", ",",      ".",       "!",
                      "[",    "]",     "#",      "-",   "中",       "国",     "##中",    "ᄒ",
                      "##ᅡ", "##ᆫ",  "cl",     "##s", "\x01",     "##\x01", "i\u0307", "��"});
  return *vocabulary;
}

TEST(WordPieceTokenizerTest, TakesTheLongestPiecesFirst) {
  EXPECT_EQ(Small().Read("unaffable"), "un ##aff ##able");
  EXPECT_EQ(Small().Read("UNAFFABLE the"), "un ##aff ##able the");
  EXPECT_EQ(Small().Read("unab"), "un ##a ##b");
}

TEST(WordPieceTokenizerTest, AWordWithAnUnknownPartIsOneUnknown) {
  EXPECT_EQ(Small().Read("unaffablex a"), "[UNK] a");
  EXPECT_EQ(Small().Read("xun"), "[UNK]");
}

TEST(WordPieceTokenizerTest, AContinuationIsNotAWord) {
  EXPECT_EQ(Small().Read("##aff"), "# # [UNK]");
}

TEST(WordPieceTokenizerTest, AVocabularyWithoutContinuations) {
  const Vocabulary vocabulary({"a", "ab"});
  EXPECT_EQ(vocabulary.Read("ab a aa"), "ab a [UNK]");
}

TEST(WordPieceTokenizerTest, EmptyAndBlankTextsAreTheTwoSpecialTokens) {
  for (const std::string_view text : {"", " ", "\t\n\r ", "\u3000\u2028", "\u200b"})
    EXPECT_EQ(Small().Read(text), "");
}

TEST(WordPieceTokenizerTest, PunctuationIsAWordOfItsOwn) {
  EXPECT_EQ(Small().Read("a,b!.a-b"), "a , b ! . a - b");
  EXPECT_EQ(Small().Read("a\u2014b"), "a [UNK] b");  // em dash: punctuation, not in the vocabulary
}

TEST(WordPieceTokenizerTest, WhitespaceOfAllKindsSplits) {
  for (const std::string space :
       {" ", "\t", "\n", "\r", "\u00a0", "\u1680", "\u2003", "\u2028", "\u202f", "\u3000"}) {
    EXPECT_EQ(Small().Read("a" + space + "b"), "a b");
  }
}

TEST(WordPieceTokenizerTest, ControlCharactersVanish) {
  for (const std::string control :
       {"\x01", "\v", "\x7f", "\u0085", "\u00ad", "\u200b", "\ufeff", "\ue000", "\ufffd"}) {
    EXPECT_EQ(Small().Read("a" + control + "b"), "a ##b");
  }
  EXPECT_EQ(Small().Read(std::string_view("a\0b", 3)), "a ##b");
}

TEST(WordPieceTokenizerTest, ControlCharactersStayWithoutCleanText) {
  const WordPieceOptions options = {.clean_text = false};
  EXPECT_EQ(Small().Read("a\x01", options), "a ##\x01");
  EXPECT_EQ(Small().Read("a\vb\u0085"
                         "b",
                         options),
            "a b b");  // white space all the same
}

TEST(WordPieceTokenizerTest, AccentsGoPrecomposedAndCombining) {
  EXPECT_EQ(Small().Read("CAFÉ cafe\u0301"), "cafe cafe");
  EXPECT_EQ(Small().Read("İSTANBUL"), "istanbul");
  EXPECT_EQ(Small().Read("\u0301"), "");
}

TEST(WordPieceTokenizerTest, AccentsStayWhenAsked) {
  const WordPieceOptions keep = {.strip_accents = false};
  EXPECT_EQ(Small().Read("CAFÉ", keep), "café");
  EXPECT_EQ(Small().Read("cafe\u0301", keep), "[UNK]");  // no composition
  EXPECT_EQ(Small().Read("İ", keep), "i\u0307");         // one character lowers to two
}

TEST(WordPieceTokenizerTest, StripAccentsFollowsLowercaseUnlessSet) {
  EXPECT_EQ(Small().Read("The THE café", {.lowercase = false}), "The [UNK] café");
  EXPECT_EQ(Small().Read("The café", {.lowercase = false, .strip_accents = true}), "The cafe");
}

TEST(WordPieceTokenizerTest, MarksThatStayAreInCanonicalOrder) {
  // U+302E (class 224) and U+1D165 (class 216) are spacing marks, which survive.
  const Vocabulary vocabulary({"a\U0001d165\u302e", "\U0001d165\u302e", "\u302e", "##\U0001d165"});
  EXPECT_EQ(vocabulary.Read("a\u302e\U0001d165"), "a\U0001d165\u302e");
  EXPECT_EQ(vocabulary.Read("a\u302e\u0301\x01\U0001d165"),
            "a\U0001d165\u302e");  // over what vanishes
  EXPECT_EQ(vocabulary.Read("\u302e\u0f71\u034f\U0001d165"),
            "\u302e ##\U0001d165");  // U+034F is a starter
}

TEST(WordPieceTokenizerTest, ChineseCharactersStandAlone) {
  EXPECT_EQ(Small().Read("a中国b"), "a 中 国 b");
  EXPECT_EQ(Small().Read("a中", {.handle_chinese_chars = false}), "a ##中");
}

TEST(WordPieceTokenizerTest, HangulDecomposes) { EXPECT_EQ(Small().Read("한"), "ᄒ ##ᅡ ##ᆫ"); }

TEST(WordPieceTokenizerTest, SpecialTokensAreFoundInTheText) {
  EXPECT_EQ(Small().Read("a[SEP]b [MASK][CLS]"), "a [SEP] b [MASK] [CLS]");
  EXPECT_EQ(Small().Read("[[UNK]]"), "[ [UNK] ]");
  EXPECT_EQ(Small().Read("[cls]"), "[ cl ##s ]");                      // before lower-casing
  EXPECT_EQ(Small().Read("[C\u200bLS] [CLS"), "[ cl ##s ] [ cl ##s");  // before cleaning
}

TEST(WordPieceTokenizerTest, SpecialTokensSplitMarks) {
  const Vocabulary vocabulary({"\u302e", "##\U0001d165", "\U0001d165"});
  EXPECT_EQ(vocabulary.Read("\u302e[SEP]\U0001d165"), "\u302e [SEP] \U0001d165");
}

TEST(WordPieceTokenizerTest, WordsOverTheLimitAreUnknown) {
  EXPECT_EQ(Small().Read("a" + std::string(99, 'b') + " a").substr(0, 9), "a ##b ##b");
  EXPECT_EQ(Small().Read("a" + std::string(100, 'b') + " a"), "[UNK] a");
  EXPECT_EQ(Small().Read(std::string(100'000, 'a')), "[UNK]");
  // Characters count after normalisation: these are 100 letters and 100 accents.
  std::string accented = "a";
  for (int i = 0; i < 99; ++i) accented += "b\u0301";
  EXPECT_EQ(Small().Read(accented).substr(0, 9), "a ##b ##b");
  EXPECT_EQ(Small().Read("abb aaa", {.max_word_chars = 2}), "[UNK] [UNK]");
  EXPECT_EQ(Small().Read("ab中中中", {.handle_chinese_chars = false, .max_word_chars = 4}),
            "[UNK]");
}

TEST(WordPieceTokenizerTest, IllFormedBytesAreReplacementCharacters) {
  for (const std::string_view bytes :
       {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xc3"}) {
    EXPECT_EQ(Small().Read("a" + std::string(bytes) + "b"), "a ##b");  // cleaned away
  }
  EXPECT_EQ(Small().Read("a \xe2\x82"), "a");
  // Kept: one for each maximal ill-formed part, here E2 82 and FF.
  EXPECT_EQ(Small().Read("\xe2\x82\xff", {.clean_text = false}), "��");
  EXPECT_EQ(Small().Read("\xe2\x82", {.clean_text = false}), "[UNK]");
}

TEST(WordPieceTokenizerTest, CutsFromTheEndAndCountsAll) {
  const std::unique_ptr<Tokenizer> tokenizer = Small().Make();
  // [CLS] un ##aff ##able a b [SEP]
  const Tokens whole = tokenizer->Encode("unaffable a b", 7);
  EXPECT_EQ(whole.count, 7);
  EXPECT_FALSE(whole.truncated);
  EXPECT_THAT(whole.ids, ElementsAre(2, 5, 6, 7, 10, 11, 3));
  const Tokens inside = tokenizer->Encode("unaffable a b", 4);
  EXPECT_EQ(inside.count, 7);
  EXPECT_TRUE(inside.truncated);
  EXPECT_THAT(inside.ids, ElementsAre(2, 5, 6, 3));
  const Tokens none = tokenizer->Encode("unaffable a b", 2);
  EXPECT_EQ(none.count, 7);
  EXPECT_THAT(none.ids, ElementsAre(2, 3));
  const Tokens special = tokenizer->Encode("a[MASK]b", 3);
  EXPECT_EQ(special.count, 5);
  EXPECT_THAT(special.ids, ElementsAre(2, 10, 3));
}

TEST(WordPieceTokenizerTest, AnUnknownWordAtTheCutIsOneToken) {
  const Tokens tokens = Small().Make()->Encode("unaffablex a", 3);
  EXPECT_EQ(tokens.count, 4);
  EXPECT_THAT(tokens.ids, ElementsAre(2, 1, 3));
}

TEST(WordPieceTokenizerTest, KnowsThePadId) { EXPECT_EQ(Small().Make()->pad_id(), 0); }

TEST(WordPieceTokenizerTest, ManyThreadsGetTheSameIds) {
  const std::unique_ptr<Tokenizer> tokenizer = Small().Make();
  const std::string text = "unaffable café 中国 한 \u302e\U0001d165 [MASK] a";
  const std::vector<int32_t> expected = tokenizer->Encode(text, 100).ids;
  std::atomic<int> different = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) different += tokenizer->Encode(text, 100).ids != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

TEST(MakeWordPieceTokenizerTest, ReadsWindowsLinesAndAMissingLastNewline) {
  const auto tokenizer =
      MakeWordPieceTokenizer("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\na", {});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT((*tokenizer)->Encode("a", 10).ids, ElementsAre(2, 5, 3));
}

struct BadVocabulary {
  std::string_view text, message;
};

TEST(MakeWordPieceTokenizerTest, RefusesBadVocabularies) {
  for (const BadVocabulary& bad : std::vector<BadVocabulary>{
           {"", "lacks [UNK]"},
           {"[UNK]\n[CLS]\n[SEP]\n[MASK]\n", "lacks [PAD]"},
           {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "lacks [MASK]"},
           {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n",
            "line 8: the token 'a' already stands on line 6"},
           {"[PAD]\n[UNK]\n\n[CLS]\n[SEP]\n[MASK]\n", "line 3: the token is empty"},
           {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n\xff\n", "line 6: the token is not UTF-8"}}) {
    const auto tokenizer = MakeWordPieceTokenizer(bad.text, {});
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(std::string(bad.message)));
  }
}

TEST(MakeWordPieceTokenizerTest, RefusesALimitOutOfRange) {
  for (const int limit : {0, -1, 10'001}) {
    const auto tokenizer =
        MakeWordPieceTokenizer("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", {.max_word_chars = limit});
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace vecino::encoder
