#include "encoder/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "encoder/tokenizer_file.h"

namespace vecino::encoder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int32_t kBegin = 1000, kEnd = 1001, kPad = 1002, kMask = 1003, kMaskX = 1004, kRight = 5;

// An id for each byte, its value.
class Bytes : public Subwords {
 public:
  void Append(std::string_view text, std::vector<int32_t>* ids) const override {
    EXPECT_FALSE(text.empty());
    for (const char c : text) ids->push_back(static_cast<uint8_t>(c));
  }
};

std::unique_ptr<Tokenizer> Make(bool two_between = false) {
  return MakeTokenizer(
      std::make_unique<Bytes>(),
      {.begin = kBegin,
       .end = kEnd,
       .pad = kPad,
       .two_between = two_between,
       .added = {{"<m>", kMask, /*lstrip=*/true}, {"<m>x", kMaskX}, {"#", kRight, false, true}}});
}

std::vector<int32_t> Ids(std::string_view text, int max_tokens = 100) {
  return Make()->Encode(text, max_tokens).ids;
}

TEST(TokenizerTest, WrapsATextAndCutsIt) {
  EXPECT_THAT(Ids(""), ElementsAre(kBegin, kEnd));
  EXPECT_THAT(Ids("ab"), ElementsAre(kBegin, 'a', 'b', kEnd));
  const Tokens whole = Make()->Encode("abc", 5);
  EXPECT_EQ(whole.count, 5);
  EXPECT_FALSE(whole.truncated);
  const Tokens cut = Make()->Encode("abcd", 5);
  EXPECT_THAT(cut.ids, ElementsAre(kBegin, 'a', 'b', 'c', kEnd));
  EXPECT_EQ(cut.count, 6);
  EXPECT_TRUE(cut.truncated);
  EXPECT_THAT(Ids("abcd", 2), ElementsAre(kBegin, kEnd));
  EXPECT_EQ(Make()->pad_id(), kPad);
}

TEST(TokenizerTest, FindsAddedTokensTheLongestFirst) {
  EXPECT_THAT(Ids("<m><m>x<m"), ElementsAre(kBegin, kMask, kMaskX, '<', 'm', kEnd));
  EXPECT_THAT(Ids("a<m>b<<m>"), ElementsAre(kBegin, 'a', kMask, 'b', '<', kMask, kEnd));
}

TEST(TokenizerTest, AddedTokensTakeWhiteSpaceAlong) {
  EXPECT_THAT(Ids("a \t<m> b"), ElementsAre(kBegin, 'a', kMask, ' ', 'b', kEnd));
  EXPECT_THAT(Ids("a # \u00a0b"), ElementsAre(kBegin, 'a', ' ', kRight, 'b', kEnd));
  EXPECT_THAT(Ids("\u2003<m>"), ElementsAre(kBegin, kMask, kEnd));
  EXPECT_THAT(Ids("# <m>"), ElementsAre(kBegin, kRight, kMask, kEnd));
  // No white space: the end of a character that is ill formed, or one that only ends like it.
  EXPECT_THAT(Ids("\x83<m>"), ElementsAre(kBegin, 0x83, kMask, kEnd));
  EXPECT_THAT(Ids("\u00e0<m>"), ElementsAre(kBegin, 0xC3, 0xA0, kMask, kEnd));
}

TEST(TokenizerTest, Pairs) {
  const Tokens one = Make()->EncodePair("ab", "c", 100);
  EXPECT_THAT(one.ids, ElementsAre(kBegin, 'a', 'b', kEnd, 'c', kEnd));
  EXPECT_EQ(one.second, 4);
  EXPECT_EQ(one.count, 6);
  EXPECT_FALSE(one.truncated);
  const Tokens two = Make(true)->EncodePair("ab", "<m>", 100);
  EXPECT_THAT(two.ids, ElementsAre(kBegin, 'a', 'b', kEnd, kEnd, kMask, kEnd));
  EXPECT_EQ(two.second, 5);
}

TEST(TokenizerTest, PairsOfIdsThatAreThereAlready) {
  const auto tokenizer = Make();
  const std::vector<int32_t> first = tokenizer->Ids("a<m>b"), none = tokenizer->Ids("");
  EXPECT_THAT(first, ElementsAre('a', kMask, 'b'));
  EXPECT_TRUE(none.empty());
  for (const int max_tokens : {4, 6, 100}) {
    EXPECT_EQ(tokenizer->EncodePair(first, tokenizer->Ids("cd"), max_tokens).ids,
              tokenizer->EncodePair("a<m>b", "cd", max_tokens).ids);
  }
  const Tokens empty = tokenizer->EncodePair(first, none, 100);
  EXPECT_THAT(empty.ids, ElementsAre(kBegin, 'a', kMask, 'b', kEnd, kEnd));
  EXPECT_EQ(empty.second, 5);
}

// As Hugging Face's truncate_encodings; tokenizer_parity compares with it over many more.
TEST(TokenizerTest, PairsAreCutFromTheLonger) {
  const auto cut = [](std::string_view a, std::string_view b, int max_tokens) {
    const Tokens tokens = Make()->EncodePair(a, b, max_tokens);
    EXPECT_EQ(tokens.count, static_cast<int>(a.size() + b.size()) + 3);
    EXPECT_EQ(tokens.truncated, tokens.count > max_tokens);
    EXPECT_LE(static_cast<int>(tokens.ids.size()), std::max(max_tokens, 4));
    return std::pair(tokens.second - 2, static_cast<int>(tokens.ids.size()) - tokens.second - 1);
  };
  EXPECT_EQ(cut("aaa", "bbb", 9), std::pair(3, 3));
  EXPECT_EQ(cut("aaa", "bbbbbb", 9), std::pair(3, 3));
  EXPECT_EQ(cut("a", "bbbbbb", 9), std::pair(1, 5 - 0));
  EXPECT_EQ(cut("aaaaaaaa", "b", 9), std::pair(5, 1));
  EXPECT_EQ(cut("aaaa", "bbbbb", 8), std::pair(2, 3));
  EXPECT_EQ(cut("aaaaa", "bbbb", 8), std::pair(3, 2));
  EXPECT_EQ(cut("aaaaa", "bbbb", 4), std::pair(1, 0));
  EXPECT_EQ(cut("aaaaa", "bbbb", 1), std::pair(1, 0));  // as 4
}

constexpr char kVocabulary[] = "<s>\n<pad>\n</s>\n[UNK]\nthe\n##m\n<mask>\n";
constexpr char kOptions[] =
    R"({"type": "wordpiece", "lowercase": true, "strip_accents": true, "handle_chinese_chars": true,
        "clean_text": true, "max_word_chars": 100, "begin": 0, "end": 2, "pad": 1,
        "two_between": true, "added_tokens": [
          {"content": "<mask>", "id": 6, "lstrip": true, "rstrip": false}]})";

TEST(ReadTokenizerTest, ReadsWordPieceWithOtherSpecialTokens) {
  const auto tokenizer = ReadTokenizer(kOptions, kVocabulary, 7);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT((*tokenizer)->Encode("The <mask>them x", 100).ids, ElementsAre(0, 4, 6, 4, 5, 3, 2));
  EXPECT_THAT((*tokenizer)->EncodePair("the", "the", 100).ids, ElementsAre(0, 4, 2, 2, 4, 2));
  EXPECT_EQ((*tokenizer)->pad_id(), 1);
}

TEST(ReadTokenizerTest, RefusesBadOptions) {
  const auto refused = [](const std::string& from, const std::string& to, absl::StatusCode code,
                          const char* why) {
    std::string options = kOptions;
    const size_t at = options.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    const absl::Status status =
        ReadTokenizer(options.replace(at, from.size(), to), kVocabulary, 7).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  };
  constexpr auto kLoss = absl::StatusCode::kDataLoss;
  refused(R"("lowercase": true, )", "", kLoss, "lowercase");
  refused(R"("end": 2, )", "", kLoss, "end");
  refused(R"("end": 2)", R"("end": 7)", kLoss, "end is 7; the vocabulary has 7");
  refused(R"("pad": 1)", R"("pad": -1)", kLoss, "pad is -1");
  refused(R"("id": 6)", R"("id": "6")", kLoss, "tokenizer: ");
  refused(R"("content": "<mask>")", R"("content": "")", kLoss, "an added token is empty");
  refused(R"("type": "wordpiece")", R"("type": "words")", absl::StatusCode::kUnimplemented,
          "'words' is not known");
  refused(R"("max_word_chars": 100)", R"("max_word_chars": 0)", absl::StatusCode::kInvalidArgument,
          "max_word_chars is 0");
  refused("{", "", kLoss, "tokenizer: ");
}

// Every id must have a word embedding.
TEST(ReadTokenizerTest, RefusesVocabulariesThatAreLargerThanTheModels) {
  std::string bpe = kOptions, unigram = kOptions;
  bpe.replace(bpe.find("wordpiece"), 9, R"(bpe", "add_prefix_space": false, "x": ")");
  unigram.replace(unigram.find("wordpiece"), 9, R"(unigram", "unk_id": 0, "x": ")");
  for (const auto& [options, vocabulary] :
       {std::pair<std::string, std::string>{kOptions, std::string(kVocabulary) + "more\n"},
        {kOptions, std::string(kVocabulary) + "more"},
        {bpe, R"({"tokens": ["a", "b", "c", "d", "e", "f", "g", "h"], "merges": []})"},
        {unigram, R"({"pieces": [[], [], [], [], [], [], [], []], "charsmap": ""})"}}) {
    const absl::Status status = ReadTokenizer(options, vocabulary, 7).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("has 8 tokens, but")) << options;
  }
}

TEST(ReadTokenizerTest, RefusesIdsThatAreNone) {
  std::string bpe = kOptions, unigram = kOptions;
  bpe.replace(bpe.find("wordpiece"), 9, R"(bpe", "add_prefix_space": false, "x": ")");
  unigram.replace(unigram.find("wordpiece"), 9, R"(unigram", "unk_id": 4294967299, "x": ")");
  EXPECT_THAT(std::string(ReadTokenizer(bpe, R"({"tokens": [], "merges": [[1, 4294967301]]})", 7)
                              .status()
                              .message()),
              HasSubstr("a merge's right id is 4294967301"));
  EXPECT_THAT(
      std::string(
          ReadTokenizer(unigram, R"({"pieces": [], "charsmap": ""})", 7).status().message()),
      HasSubstr("unk_id is 4294967299"));
}

TEST(ReadTokenizerTest, KnowsTheFileOfEachType) {
  EXPECT_STREQ(VocabularyFile("wordpiece"), "vocab.txt");
  EXPECT_STREQ(VocabularyFile("bpe"), "vocabulary.json");
  EXPECT_STREQ(VocabularyFile("unigram"), "vocabulary.json");
  EXPECT_EQ(VocabularyFile("words"), nullptr);
}

}  // namespace
}  // namespace vecino::encoder
