#include "encoder/unigram.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "encoder/grapheme_clusters.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vecino::encoder {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Mapping = std::map<std::string, std::string>;

// The charsmap of `mapping`: each node of the double array has a block of 256 units for its
// children, as in encoder/unicode/charsmap.py.
class Charsmap {
 public:
  explicit Charsmap(const Mapping& mapping) : units_(256) {
    Place(mapping, 0, 0, "", 0);
    for (size_t i = 0; i < units_.size() + 1; ++i) {
      const uint32_t unit = i == 0 ? 4 * units_.size() : units_[i - 1];
      for (int shift = 0; shift < 32; shift += 8) bytes_ += static_cast<char>(unit >> shift);
    }
    bytes_ += strings_;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  void Place(const Mapping& mapping, size_t depth, uint32_t at, const std::string& key,
             uint32_t label) {
    const uint32_t base = units_.size();
    units_.resize(base + 256);
    units_[at] = label | (at ^ base) << 10;
    if (const auto found = mapping.find(key); found != mapping.end()) {
      units_[at] |= 1 << 8;
      units_[base] = 1u << 31 | strings_.size();
      strings_ += found->second + '\0';
    }
    std::map<uint8_t, bool> children;
    for (const auto& [other, value] : mapping) {
      if (other.size() > depth && other.starts_with(key)) children[other[depth]] = true;
    }
    for (const auto& [byte, unused] : children)
      Place(mapping, depth + 1, base + byte, key + static_cast<char>(byte), byte);
  }

  std::vector<uint32_t> units_;
  std::string strings_, bytes_;
};

// A vocabulary of <unk>, id 0, and pieces from id 1 on.
UnigramVocabulary Pieces(std::vector<std::pair<std::string, double>> pieces) {
  pieces.insert(pieces.begin(), {"<unk>", 0});
  return {.pieces = std::move(pieces)};
}

// The pieces of `text`, joined by spaces.
std::string Read(const UnigramVocabulary& vocabulary, std::string_view text) {
  const auto unigram = MakeUnigram(vocabulary);
  if (!unigram.ok()) return std::string(unigram.status().message());
  std::vector<int32_t> ids;
  (*unigram)->Append(text, &ids);
  std::string joined;
  for (const int32_t id : ids)
    joined += (joined.empty() ? "" : " ") + vocabulary.pieces.at(id).first;
  return joined;
}

// Every ASCII letter, the mark and some more, each a piece.
UnigramVocabulary Letters(const Mapping& charsmap = {}) {
  std::vector<std::pair<std::string, double>> pieces = {
      {"▁", -1},  {"\u0301", -1}, {"\u200d", -1}, {"\u3000", -1}, {"\t", -1}, {"\n", -1},
      {"\r", -1}, {"\ufffd", -1}, {"\u0600", -1}, {"☂", -1},      {"©", -1}};
  for (char c = 'a'; c <= 'z'; ++c) pieces.emplace_back(std::string(1, c), -1);
  UnigramVocabulary vocabulary = Pieces(std::move(pieces));
  if (!charsmap.empty()) vocabulary.charsmap = Charsmap(charsmap).bytes();
  return vocabulary;
}

TEST(UnigramTest, TakesThePiecesOfTheGreatestSum) {
  const UnigramVocabulary vocabulary =
      Pieces({{"▁", -2}, {"a", -1}, {"b", -1}, {"c", -1}, {"ab", -1.5}, {"bc", -1}, {"▁a", -3.5}});
  EXPECT_EQ(Read(vocabulary, "abc"), "▁ a bc");
  EXPECT_EQ(Read(vocabulary, "ab"), "▁ ab");
  EXPECT_EQ(Read(vocabulary, "a"), "▁ a");  // −3 against −3.5
}

TEST(UnigramTest, OfEqualSumsTheOneThatBeginsEarlierLast) {
  // a·bc and ab·c are both −2: the last piece that was found first begins earlier.
  const UnigramVocabulary vocabulary =
      Pieces({{"▁", 0}, {"a", -1}, {"b", -5}, {"c", -1}, {"ab", -1}, {"bc", -1}});
  EXPECT_EQ(Read(vocabulary, "abc"), "▁ a bc");
}

TEST(UnigramTest, UnknownsAreOneWithTheirNeighboursOfAWord) {
  const UnigramVocabulary vocabulary = Pieces({{"▁", -1}, {"a", -1}, {"▁a", -1}});
  EXPECT_EQ(Read(vocabulary, "xyzaxya"), "▁ <unk> a <unk> a");
  EXPECT_EQ(Read(vocabulary, "中x 中"), "▁ <unk> ▁ <unk>");
  EXPECT_EQ(Read(Pieces({{"a", -1}}), "x a"), "<unk> <unk> a");  // the mark is unknown too
}

TEST(UnigramTest, AnUnknownCostsTenMoreThanTheLeastScore) {
  // −6 − 6 against −6 − 10 + 4.5 and + 3.5.
  EXPECT_EQ(Read(Pieces({{"▁", 0}, {"ab", -6}, {"c", -6}, {"bc", 4.5}}), "abc"), "▁ <unk> bc");
  EXPECT_EQ(Read(Pieces({{"▁", 0}, {"ab", -6}, {"c", -6}, {"bc", 3.5}}), "abc"), "▁ ab c");
  UnigramVocabulary vocabulary = Pieces({{"▁", 0}, {"ab", -6}, {"c", -6}, {"bc", 4.5}});
  vocabulary.pieces[0].second = -7;  // <unk> counts among the scores
  EXPECT_EQ(Read(vocabulary, "abc"), "▁ ab c");
}

TEST(UnigramTest, APieceOfSeveralCharactersDoesNotKeepUnknownsAway) {
  // b is no piece; x is only at the front of one.
  const UnigramVocabulary vocabulary = Pieces({{"▁", -1}, {"ab", -1}, {"xy", -30}});
  EXPECT_EQ(Read(vocabulary, "abb"), "▁ ab <unk>");
  EXPECT_EQ(Read(vocabulary, "xy"), "▁ xy");  // −30 against −80
}

TEST(UnigramTest, ARunOfUnknownsThatIsAPieceIsThatPiece) {
  // With these scores two unknowns are worth 180.
  const UnigramVocabulary vocabulary = Pieces({{"▁", 100}, {"xy", 100}, {"▁z", 100}, {"z", 400}});
  UnigramVocabulary high = vocabulary;
  high.pieces[0].second = 100;
  EXPECT_EQ(Read(high, "xy"), "▁ xy");
  EXPECT_EQ(Read(high, "xyw"), "▁ <unk>");
}

TEST(UnigramTest, TheLastOfEqualPiecesCounts) {
  const UnigramVocabulary vocabulary = Pieces({{"▁", -1}, {"a", -1}, {"a", -2}});
  std::vector<int32_t> ids;
  (*MakeUnigram(vocabulary))->Append("a", &ids);
  EXPECT_THAT(ids, ElementsAre(1, 3));
}

TEST(UnigramTest, AnIdWithoutAScoreIsInNoText) {
  UnigramVocabulary vocabulary = Pieces({{"▁", -1}, {"a", -1}, {"b", -1}});
  vocabulary.pieces.emplace_back("ab", std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(Read(vocabulary, "ab"), "▁ a b");
}

TEST(UnigramTest, AppendsToWhatIsThere) {
  const auto unigram = MakeUnigram(Letters());
  std::vector<int32_t> ids = {7};
  (*unigram)->Append("ab", &ids);
  EXPECT_EQ(ids.size(), 4u);
  EXPECT_EQ(ids[0], 7);
}

TEST(UnigramTest, EmptyAndBlankTextsHaveNoPieces) {
  for (const std::string_view text : {"", " ", "\t\n\r ", "\u3000\u2028"})
    EXPECT_EQ(Read(Letters(), text), "");
}

TEST(UnigramTest, SplitsAtWhiteSpaceAndMarksEachWord) {
  EXPECT_EQ(Read(Letters(), " a\tb\u00a0\u2003c\r\nd\u3000"), "▁ a ▁ b ▁ c ▁ d");
  EXPECT_EQ(Read(Letters(), "a▁b"), "▁ a ▁ b");
  EXPECT_EQ(Read(Letters(), "▁a ▁ b"), "▁ a ▁ ▁ b");  // a mark that is there is enough
  EXPECT_EQ(Read(Letters(), "▁▁a"), "▁ ▁ a");
}

TEST(UnigramTest, NoPieceReachesOverAMark) {
  UnigramVocabulary vocabulary = Letters();
  vocabulary.pieces.emplace_back("a▁b", 0);
  EXPECT_EQ(Read(vocabulary, "a b"), "▁ a ▁ b");
}

TEST(UnigramTest, MetaspaceAloneKeepsOtherWhiteSpace) {
  UnigramVocabulary vocabulary = Letters();
  vocabulary.whitespace_split = false;
  EXPECT_EQ(Read(vocabulary, "a  b "), "▁ a ▁ ▁ b ▁");
  EXPECT_EQ(Read(vocabulary, "  a\tb"), "▁ ▁ a \t b");
  EXPECT_EQ(Read(vocabulary, "\u3000"), "▁ \u3000");
  EXPECT_EQ(Read(vocabulary, " "), "▁");
  EXPECT_EQ(Read(vocabulary, ""), "");
}

TEST(UnigramTest, MarksOnlySpacesWithoutPrefixSpace) {
  UnigramVocabulary vocabulary = Letters();
  vocabulary.prefix_space = false;
  EXPECT_EQ(Read(vocabulary, "a b ▁c"), "a b ▁ c");
  vocabulary.whitespace_split = false;
  EXPECT_EQ(Read(vocabulary, "a b  c"), "a ▁ b ▁ ▁ c");
}

TEST(UnigramTest, StripsAndCollapsesSpaces) {
  UnigramVocabulary vocabulary = Letters();
  vocabulary.whitespace_split = false;
  vocabulary.strip_right = true;
  EXPECT_EQ(Read(vocabulary, " a \u3000\n"), "▁ a");
  EXPECT_EQ(Read(vocabulary, "\u3000 "), "");
  vocabulary.strip_left = true;
  EXPECT_EQ(Read(vocabulary, "\t\u2003a\tb "), "▁ a \t b");
  vocabulary.strip_left = vocabulary.strip_right = false;
  vocabulary.collapse_spaces = " ";
  EXPECT_EQ(Read(vocabulary, "   a  b c  "), "▁ a ▁ b ▁ c ▁");
  vocabulary.collapse_spaces = "▁";
  EXPECT_EQ(Read(vocabulary, "a  b   "), "▁ a ▁ b ▁");
}

TEST(UnigramTest, NormalisesByTheCharsmap) {
  const UnigramVocabulary vocabulary =
      Letters({{"\u00e9", "e"}, {"\t", " "}, {"\u2103", "oc"}, {"q", ""}});
  EXPECT_EQ(Read(vocabulary, "caf\u00e9 \u2103"), "▁ c a f e ▁ o c");
  EXPECT_EQ(Read(vocabulary, "a\tbqqc"), "▁ a ▁ b c");
  EXPECT_EQ(Read(vocabulary, "q"), "");
}

TEST(UnigramTest, ASmallClusterIsReplacedAsAWhole) {
  const UnigramVocabulary vocabulary = Letters({{"a", "x"}, {"\u0301", "y"}});
  EXPECT_EQ(Read(vocabulary, "a\u0301"), "▁ x");
  EXPECT_EQ(Read(vocabulary, "a\u0301\u0301"), "▁ x");              // 5 bytes
  EXPECT_EQ(Read(vocabulary, "a\u0301\u0301\u0301"), "▁ x y y y");  // 7
  EXPECT_EQ(Read(vocabulary, "b\u0301"), "▁ b y");  // no key begins the cluster: one by one
  EXPECT_EQ(Read(vocabulary, "\u0301\u0301"), "▁ y");
  EXPECT_EQ(Read(Letters({{"☂", "x"}}), "☂\u0301 ☂\u200d"), "▁ x ▁ x \u200d");  // 5 and 6
  EXPECT_EQ(Read(vocabulary, "\n\u0301\u0301"), "▁ y");  // nothing attaches to a control
}

TEST(UnigramTest, TheShortestKeyCounts) {
  EXPECT_EQ(Read(Letters({{"a\u0301", "x"}, {"a", "y"}}), "a\u0301"), "▁ y");
  EXPECT_EQ(Read(Letters({{"a\u0301", "x"}}), "a\u0301\u0301 a"), "▁ x ▁ a");
  EXPECT_EQ(Read(Letters({{"ab", "x"}}), "ab"), "▁ a b");  // two clusters
}

TEST(UnigramTest, CarriageReturnAndLineFeedAreOneCluster) {
  UnigramVocabulary vocabulary = Letters({{"\r", "r"}, {"\n", "n"}});
  EXPECT_EQ(Read(vocabulary, "\r\n"), "▁ r");
  EXPECT_EQ(Read(vocabulary, "\n\r"), "▁ n r");
  EXPECT_EQ(Read(Letters({{"\n", "n"}}), "a\r\nb"), "▁ a ▁ n b");  // one by one
  EXPECT_EQ(Read(Letters({{"\r\n", "x"}}), "a\r\n\rb"), "▁ a x ▁ b");
}

TEST(UnigramTest, AZeroByteEndsALookUp) {
  const UnigramVocabulary vocabulary = Letters({{"a", "x"}});
  EXPECT_EQ(Read(vocabulary, std::string_view("\0a", 2)), "▁ <unk> x");
}

TEST(UnigramTest, IllFormedBytesAreReplacementCharacters) {
  EXPECT_EQ(Read(Letters(), "a\xff\xe2\x82z"), "▁ a \ufffd \ufffd z");
  EXPECT_EQ(Read(Letters({{"\ufffd", "q"}}), "a\x80"), "▁ a q");
  EXPECT_EQ(Read(Letters(), "\xe2\x96"), "▁ \ufffd");
}

TEST(UnigramTest, ALongTextWithoutSpacesIsQuick) {
  const auto unigram = MakeUnigram(Letters({{"a", "b"}, {"\u0301", "c"}}));
  const auto start = std::chrono::steady_clock::now();
  std::vector<int32_t> ids;
  (*unigram)->Append(std::string(1 << 20, 'a'), &ids);
  EXPECT_EQ(ids.size(), (1u << 20) + 1);
  ids.clear();
  std::string marks, unknown;
  for (int i = 0; i < 1 << 19; ++i) marks += "\u0301", unknown += "\u00e9";
  (*unigram)->Append(marks, &ids);
  EXPECT_EQ(ids.size(), (1u << 19) + 1);
  ids.clear();
  (*unigram)->Append(unknown, &ids);
  EXPECT_EQ(ids.size(), 2u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));  // sanitizers too
}

TEST(UnigramTest, ManyThreadsGetTheSameIds) {
  const auto unigram = MakeUnigram(Letters({{"a", "b"}}));
  const std::string text = "unaffable caf\u00e9 \u4e2d a\u0301 \xff" + std::string(1000, 'x');
  std::vector<int32_t> expected;
  (*unigram)->Append(text, &expected);
  std::atomic<int> different = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        std::vector<int32_t> ids;
        (*unigram)->Append(text, &ids);
        different += ids != expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

struct BadVocabulary {
  UnigramVocabulary vocabulary;
  std::string_view message;
};

TEST(MakeUnigramTest, RefusesBadVocabularies) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const BadVocabulary& bad :
       std::vector<BadVocabulary>{{{}, "unk_id is 0; it must be the id of one of the 0 pieces"},
                                  {{.pieces = {{"a", -1}}, .unk_id = 1}, "unk_id is 1"},
                                  {{.pieces = {{"a", -1}}, .unk_id = -1}, "unk_id is -1"},
                                  {{.pieces = {{"a", kNan}}}, "with a score"},
                                  {Pieces({{"a", -kInfinity}}), "piece 1: its score is infinite"},
                                  {Pieces({{"\xff", -1}}), "piece 1 is not UTF-8"}}) {
    const auto unigram = MakeUnigram(bad.vocabulary);
    EXPECT_EQ(unigram.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(unigram.status().message()), HasSubstr(std::string(bad.message)));
  }
}

TEST(MakeUnigramTest, RefusesDamagedCharsmaps) {
  const std::string whole = Charsmap({{"a", "x"}, {"\u00e9", "e"}}).bytes();
  UnigramVocabulary vocabulary = Letters();
  for (size_t size = 1; size + 4 < whole.size(); ++size) {  // the size says more than there is
    vocabulary.charsmap = whole.substr(0, size);
    ASSERT_EQ(MakeUnigram(vocabulary).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
  vocabulary.charsmap = std::string("\3\0\0\0abc", 7);
  EXPECT_THAT(std::string(MakeUnigram(vocabulary).status().message()),
              HasSubstr("its array is of 3 bytes"));
  vocabulary.charsmap = std::string("\4\0\0\0\0\0\0\0", 8);
  EXPECT_THAT(std::string(MakeUnigram(vocabulary).status().message()),
              HasSubstr("unit 0 points outside"));
  vocabulary.charsmap = whole;
  vocabulary.charsmap[whole.size() - 2] = '\xff';
  EXPECT_THAT(std::string(MakeUnigram(vocabulary).status().message()), HasSubstr("not UTF-8"));
}

TEST(MakeUnigramTest, NoDamageToACharsmapLeadsOutside) {
  // Whatever is damaged is refused or read inside its bounds; the sanitizers see to it.
  const std::string whole = Charsmap({{"a", "x"}, {"\u00e9", "e"}, {"ab", "\u00e9"}}).bytes();
  UnigramVocabulary vocabulary = Letters();
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const char damage : {'\1', '\x80', '\xff', 'a'}) {
      if (whole[i] == 0 && i % 3 != 0) continue;  // of the many empty units some
      vocabulary.charsmap = whole;
      vocabulary.charsmap[i] = static_cast<char>(vocabulary.charsmap[i] ^ damage);
      Read(vocabulary, "ab\u00e9\u0301 caf\u00e9");
    }
  }
}

TEST(FirstGraphemeClusterTest, JoinsWhatTheReferenceJoins) {
  const auto first = [](std::string_view text) {
    return std::string(text.substr(0, FirstGraphemeCluster(text)));
  };
  for (const std::string whole : {
           "a", "\r\n", "e\u0301", "\u0e01\u0e33", "\u0600a",     // a spacing mark, a prepend
           "\u1100\u1161\u11a8", "\uac00\u11a8", "\uac01\u11a8",  // Hangul
           "©\u200d☂", "☂\u0301\u200d☂\u0301",
           "\u0915\u094d\u0937\u093f",  // pictographs, a conjunct
       }) {
    EXPECT_EQ(first(whole + "z"), whole);
    EXPECT_EQ(first(whole), whole);
  }
  EXPECT_EQ(first("\n\u0301"), "\n");
  EXPECT_EQ(first("\r\r"), "\r");
  EXPECT_EQ(first("\u0600\n"), "\u0600");
  EXPECT_EQ(first("\u1161\u1100"), "\u1161");
  EXPECT_EQ(first("\uac01\u1161"), "\uac01");
  EXPECT_EQ(first("a\u200d☂"), "a\u200d");
  EXPECT_EQ(first("☂\u200d\u200d☂"), "☂\u200d\u200d");
  EXPECT_EQ(first("☂\u0903\u200d☂"), "☂\u0903\u200d");  // a spacing mark, not Extend
  EXPECT_EQ(first("\u0915\u0301\u0937"), "\u0915\u0301");
}

}  // namespace
}  // namespace vecino::encoder
