#include "encoder/byte_bpe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "encoder/gpt2_words.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vecino::encoder {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Words = std::vector<std::string>;
using Merges = std::vector<std::pair<std::string, std::string>>;

Words Split(std::string_view text) {
  Words words;
  while (!text.empty()) {
    words.emplace_back(text.substr(0, Gpt2WordLength(text)));
    text.remove_prefix(words.back().size());
  }
  return words;
}

TEST(Gpt2WordsTest, LettersNumbersAndTheRestEachWithASpaceBefore) {
  EXPECT_EQ(Split("play chess"), Words({"play", " chess"}));
  EXPECT_EQ(Split("a1b22"), Words({"a", "1", "b", "22"}));
  EXPECT_EQ(Split("x = 3.14, (y)!?"), Words({"x", " =", " 3", ".", "14", ",", " (", "y", ")!?"}));
  EXPECT_EQ(Split("snake_case"), Words({"snake", "_", "case"}));
}

TEST(Gpt2WordsTest, Contractions) {
  EXPECT_EQ(Split("it's don't we're I've I'm she'll he'd"),
            Words({"it", "'s", " don", "'t", " we", "'re", " I", "'ve", " I", "'m", " she", "'ll",
                   " he", "'d"}));
  EXPECT_EQ(Split("'sdt"), Words({"'s", "dt"}));  // whatever follows
  EXPECT_EQ(Split("'S 'r 'l 'x '"), Words({"'", "S", " '", "r", " '", "l", " '", "x", " '"}));
  EXPECT_EQ(Split("'re'r"), Words({"'re", "'", "r"}));
  EXPECT_EQ(Split(" 's"), Words({" '", "s"}));  // the space takes the apostrophe
  EXPECT_EQ(Split("!'s"), Words({"!'", "s"}));  // so does a sign
  EXPECT_EQ(Split("''s"), Words({"''", "s"}));
  EXPECT_EQ(Split("\n's"), Words({"\n", "'s"}));
  EXPECT_EQ(Split("'s's"), Words({"'s", "'s"}));
}

TEST(Gpt2WordsTest, WhiteSpaceLeavesItsLastToWhatFollows) {
  EXPECT_EQ(Split("a  b"), Words({"a", " ", " b"}));
  EXPECT_EQ(Split("a    b"), Words({"a", "   ", " b"}));
  EXPECT_EQ(Split("a \n b"), Words({"a", " \n", " b"}));
  EXPECT_EQ(Split("a \n\nb"), Words({"a", " \n", "\n", "b"}));  // only U+0020 joins a word
  EXPECT_EQ(Split("a\nb"), Words({"a", "\n", "b"}));
  EXPECT_EQ(Split("a\tb"), Words({"a", "\t", "b"}));
  EXPECT_EQ(Split(" \u3000b"), Words({" ", "\u3000", "b"}));
  EXPECT_EQ(Split("\u3000\u3000b"), Words({"\u3000", "\u3000", "b"}));
  EXPECT_EQ(Split("\u3000 b"), Words({"\u3000", " b"}));
}

TEST(Gpt2WordsTest, WhiteSpaceAtTheEndIsOneWord) {
  EXPECT_EQ(Split(" "), Words({" "}));
  EXPECT_EQ(Split("a "), Words({"a", " "}));
  EXPECT_EQ(Split("a \t\n "), Words({"a", " \t\n "}));
  EXPECT_EQ(Split("a\u2028\u00a0"), Words({"a", "\u2028\u00a0"}));
}

TEST(Gpt2WordsTest, ClassesBeyondAscii) {
  EXPECT_EQ(Split("na\u00efve \u4e2d\u6587"), Words({"na\u00efve", " \u4e2d\u6587"}));
  EXPECT_EQ(Split("x\u00b2\u0663\u2160"), Words({"x", "\u00b2\u0663\u2160"}));  // No, Nd, Nl
  EXPECT_EQ(Split("e\u0301a"), Words({"e", "\u0301", "a"}));  // a combining mark is no letter
  EXPECT_EQ(Split(" \U0001f600\u200d!"), Words({" \U0001f600\u200d!"}));
  EXPECT_EQ(Split("a\u0085\u00a0b"), Words({"a", "\u0085", "\u00a0", "b"}));
  EXPECT_EQ(Split("a\x1c\x7f\u200b"), Words({"a", "\x1c\x7f\u200b"}));  // white space for others
  EXPECT_EQ(Split(std::string_view("a\0b", 3)), Words({"a", std::string(1, '\0'), "b"}));
}

// A vocabulary of the 256 bytes, their ids the bytes themselves, and what merges make of them: each
// is named by its two sides, and the next id is its token's. Only for printable ASCII and the
// space.
class Vocabulary {
 public:
  explicit Vocabulary(const Merges& merges, bool add_prefix_space = false) {
    vocabulary_.add_prefix_space = add_prefix_space;
    int other = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
      vocabulary_.tokens.push_back(Utf8(printable ? byte : other++));
    }
    for (const auto& [left, right] : merges) {
      vocabulary_.merges.emplace_back(Id(left), Id(right));
      vocabulary_.tokens.push_back(left + right);
    }
  }

  ByteBpeVocabulary& raw() { return vocabulary_; }

  int32_t Id(std::string_view token) const {
    const auto& tokens = vocabulary_.tokens;
    return static_cast<int32_t>(std::find(tokens.begin(), tokens.end(), token) - tokens.begin());
  }

  std::unique_ptr<Subwords> Make() const {
    auto made = MakeByteBpe(vocabulary_);
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  // The tokens of `text`, joined by spaces.
  std::string Read(std::string_view text) const {
    std::vector<int32_t> ids;
    Make()->Append(text, &ids);
    std::string joined;
    for (const int32_t id : ids) joined += (joined.empty() ? "" : " ") + vocabulary_.tokens.at(id);
    return joined;
  }

 private:
  static std::string Utf8(int code) {
    if (code < 0x80) return std::string(1, static_cast<char>(code));
    return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  }

  ByteBpeVocabulary vocabulary_;
};

constexpr char kSpace[] = "\u0120";  // the byte 0x20 in GPT-2's alphabet

TEST(ByteBpeTest, JoinsTheBestPairFirst) {
  const Vocabulary vocabulary(Merges{{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"d", "e"}});
  EXPECT_EQ(vocabulary.Read("abc"), "abc");
  EXPECT_EQ(vocabulary.Read("abd"), "ab d");
  EXPECT_EQ(vocabulary.Read("ababc"), "ab abc");
  EXPECT_EQ(vocabulary.Read("xdey"), "x de y");
  EXPECT_EQ(vocabulary.Read("x"), "x");
  EXPECT_EQ(vocabulary.Read(""), "");
}

TEST(ByteBpeTest, OfEqualPairsTheLeftmostFirst) {
  const Vocabulary vocabulary(Merges{{"a", "a"}, {"aa", "aa"}});
  EXPECT_EQ(vocabulary.Read("aaa"), "aa a");
  EXPECT_EQ(vocabulary.Read("aaaaa"), "aaaa a");
  EXPECT_EQ(vocabulary.Read("baaab"), "b aa a b");
}

TEST(ByteBpeTest, AMergeMayMakeABetterPair) {
  // Of "abab", the left "ab" makes "aba" possible, which goes before the "ab" on the right.
  Vocabulary vocabulary(Merges{{"a", "b"}, {"ab", "a"}});
  std::swap(vocabulary.raw().merges[0], vocabulary.raw().merges[1]);
  EXPECT_EQ(vocabulary.Read("abab"), "aba b");
}

TEST(ByteBpeTest, ATokenThatMergesDoNotMakeOfItsBytesIsNotFound) {
  // "bc" is joined first, so that "ab" + "c" never meets.
  Vocabulary vocabulary(Merges{{"b", "c"}, {"a", "b"}, {"ab", "c"}});
  EXPECT_EQ(vocabulary.Read("abc"), "a bc");
  vocabulary.raw().tokens.push_back("xyz");
  vocabulary.raw().tokens.push_back("<not of the alphabet>");
  vocabulary.raw().tokens.push_back("");
  EXPECT_EQ(vocabulary.Read("xyz"), "x y z");
}

TEST(ByteBpeTest, OfAPairThatStandsTwiceTheLaterCounts) {
  Vocabulary vocabulary(Merges{{"a", "b"}, {"b", "c"}});
  EXPECT_EQ(vocabulary.Read("abc"), "ab c");
  vocabulary.raw().merges.emplace_back('a', 'b');
  EXPECT_EQ(vocabulary.Read("abc"), "a bc");
}

TEST(ByteBpeTest, WordsDoNotMeetAndKeepTheirSpace) {
  const Vocabulary vocabulary(Merges{{"a", "b"}, {kSpace, "ab"}, {"1", "2"}});
  EXPECT_EQ(vocabulary.Read("ab ab12"), std::string("ab ") + kSpace + "ab 12");
  EXPECT_EQ(vocabulary.Read("a b"), std::string("a ") + kSpace + " b");
  EXPECT_EQ(vocabulary.Read("1ab2"), "1 ab 2");
}

TEST(ByteBpeTest, EveryByteHasItsSymbol) {
  const std::unique_ptr<Subwords> subwords = Vocabulary(Merges{}).Make();
  for (int code = 0; code < 0x80; ++code) {
    std::vector<int32_t> ids;
    subwords->Append(std::string(1, static_cast<char>(code)), &ids);
    EXPECT_THAT(ids, ElementsAre(code));
  }
  std::vector<int32_t> ids;
  subwords->Append("\u00e9\u4e2d\U0001f600", &ids);
  EXPECT_THAT(ids, ElementsAre(0xC3, 0xA9, 0xE4, 0xB8, 0xAD, 0xF0, 0x9F, 0x98, 0x80));
}

TEST(ByteBpeTest, IllFormedUtf8IsTheReplacementCharacter) {
  const std::unique_ptr<Subwords> subwords = Vocabulary(Merges{}).Make();
  for (const std::string_view bad : {"\xff", "\xe2\x82", "\xf0\x9f\x98", "\xc3"}) {
    std::vector<int32_t> ids;
    subwords->Append("a" + std::string(bad) + "b", &ids);
    EXPECT_THAT(ids, ElementsAre('a', 0xEF, 0xBF, 0xBD, 'b'));
  }
  std::vector<int32_t> ids;
  subwords->Append("\xed\xa0\x80", &ids);  // a surrogate: each byte is a part of its own
  EXPECT_EQ(ids.size(), 9);
}

TEST(ByteBpeTest, AppendsToWhatIsThere) {
  std::vector<int32_t> ids = {7, 8};
  const Vocabulary vocabulary(Merges{{"a", "b"}});
  vocabulary.Make()->Append("abba", &ids);
  EXPECT_THAT(ids, ElementsAre(7, 8, 256, 'b', 'a'));
}

TEST(ByteBpeTest, AddsASpaceWhereNoneIs) {
  const Vocabulary vocabulary(Merges{{kSpace, "a"}, {kSpace, kSpace}}, true);
  const std::string space = kSpace, spaced = space + "a";
  EXPECT_EQ(vocabulary.Read("a"), spaced);
  EXPECT_EQ(vocabulary.Read(" a"), spaced);
  EXPECT_EQ(vocabulary.Read("  a"), space + " " + spaced);
  EXPECT_EQ(vocabulary.Read(""), "");
  EXPECT_EQ(vocabulary.Read(" "), space);
  EXPECT_EQ(vocabulary.Read("1"), space + " 1");
  EXPECT_EQ(vocabulary.Read("\na").substr(0, space.size()), space);
  EXPECT_EQ(vocabulary.Read("'s"), space + " ' s");  // no contraction after the space
  std::vector<int32_t> ids;
  vocabulary.Make()->Append("\xff", &ids);
  EXPECT_THAT(ids, ElementsAre(' ', 0xEF, 0xBF, 0xBD));
}

// The same word by the scan (short) and by the heap (long) must be cut alike: "z" keeps parts
// apart.
TEST(ByteBpeTest, LongWordsAreJoinedAsShortOnes) {
  const Vocabulary vocabulary(Merges{{"c", "a"},
                                     {"a", "b"},
                                     {"ab", "c"},
                                     {"a", "a"},
                                     {"b", "ca"},
                                     {"aa", "b"},
                                     {"b", "b"},
                                     {"bb", "ca"},
                                     {"abc", "ab"}});
  uint32_t random = 1;
  std::string whole, expected;
  for (int part = 0; part < 300; ++part) {
    std::string word;
    for (int i = 0; i < part % 23; ++i) {
      random = random * 1664525 + 1013904223;
      word += "abc"[random >> 24 & 3 ? random >> 26 & 1 : 2];
    }
    whole += word + "z";
    expected += (part > 0 ? " " : "") + vocabulary.Read(word + "z");
  }
  EXPECT_EQ(vocabulary.Read(whole), expected);
}

TEST(ByteBpeTest, AWordOfAnyLengthTakesLittleTime) {
  Merges merges;
  for (std::string token = "a"; token.size() < 1024; token += token) {
    merges.emplace_back(token, token);
  }
  const std::unique_ptr<Subwords> subwords = Vocabulary(merges).Make();
  const auto start = std::chrono::steady_clock::now();
  for (const std::string unit : {"a", "ab", "!", "\u0301", " "}) {
    std::string text;
    while (text.size() < 200'000) text += unit;
    std::vector<int32_t> ids;
    subwords->Append(text, &ids);
    EXPECT_GE(ids.size(), unit == "a" ? 196 : 100'000);
  }
  // Quadratic it would be hours under a sanitizer and a minute without.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(ByteBpeTest, ManyThreadsGetTheSameIds) {
  const std::unique_ptr<Subwords> subwords = Vocabulary(Merges{{"a", "b"}, {"ab", "c"}}).Make();
  const std::string text = "abcab \u4e2d\xff it's " + std::string(100, 'b');
  std::vector<int32_t> expected;
  subwords->Append(text, &expected);
  std::atomic<int> different = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        std::vector<int32_t> ids;
        subwords->Append(text, &ids);
        different += ids != expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

void ExpectRefused(const ByteBpeVocabulary& vocabulary, const std::string& message) {
  const auto made = MakeByteBpe(vocabulary);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(made.status().message()), HasSubstr(message));
}

TEST(MakeByteBpeTest, RefusesBadVocabularies) {
  ExpectRefused({}, "the vocabulary of 0 tokens lacks the one of byte 0x00");
  Vocabulary without(Merges{});
  without.raw().tokens['A'] = "AA";
  ExpectRefused(without.raw(), "the vocabulary of 256 tokens lacks the one of byte 0x41");
  Vocabulary twice(Merges{{"a", "b"}});
  twice.raw().tokens.push_back("ab");
  ExpectRefused(twice.raw(), "the token 'ab' has the ids 256 and 257");
}

TEST(MakeByteBpeTest, RefusesBadMerges) {
  for (const auto& merge : {std::pair(-1, 5), std::pair(5, 257), std::pair(1 << 30, 5)}) {
    Vocabulary vocabulary(Merges{{"a", "b"}});
    vocabulary.raw().merges.emplace_back(merge);
    ExpectRefused(vocabulary.raw(), "those of the vocabulary are 0 to 256");
  }
  Vocabulary vocabulary(Merges{{"a", "b"}});
  vocabulary.raw().merges.emplace_back('b', 'a');
  ExpectRefused(vocabulary.raw(), "merge 1 makes 'ba', which the vocabulary lacks");
}

}  // namespace
}  // namespace vecino::encoder
