#include "encoder/wordpiece_tokenizer.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "encoder/bert_words.h"
#include "encoder/utf8.h"
#include "encoder/wordpiece_trie.h"

namespace vecino::encoder {
namespace {

// The special tokens, which are matched in the raw text; all begin with '['.
enum Special { kPad, kUnk, kCls, kSep, kMask };
constexpr std::array<std::string_view, 5> kSpecialTokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]",
                                                            "[MASK]"};
constexpr std::string_view kContinuation = "##";
constexpr int kMaxWordChars = 10'000;

using SpecialIds = std::array<int32_t, kSpecialTokens.size()>;
using VocabularyEntries = std::vector<std::pair<std::string_view, int32_t>>;

class WordPieceTokenizer : public Tokenizer {
 public:
  WordPieceTokenizer(VocabularyEntries vocabulary, const SpecialIds& special,
                     const WordPieceOptions& options)
      : words_(options),
        trie_(std::move(vocabulary)),
        continuation_(trie_.Descend(kContinuation)),
        special_(special),
        max_word_chars_(options.max_word_chars) {}

  Tokens Encode(std::string_view text, int max_tokens) const override {
    const size_t room = static_cast<size_t>(std::max(max_tokens, 2)) - 1;  // all but [SEP]
    Tokens tokens;
    tokens.ids.reserve(std::min(room + 1, text.size() / 4 + 8));
    tokens.ids.push_back(special_[kCls]);
    size_t dropped = 0;
    const auto cut = [&] {
      if (tokens.ids.size() <= room) return;
      dropped += tokens.ids.size() - room;
      tokens.ids.resize(room);
    };
    const auto add_word = [&](std::string_view word, int chars) {
      AppendWord(word, chars, tokens.ids);
      cut();
    };
    size_t done = 0;  // text before it is dealt with
    for (size_t at = text.find('['); at != text.npos; at = text.find('[', at)) {
      const int special = SpecialAt(text.substr(at));
      if (special < 0) {
        ++at;
        continue;
      }
      words_.Split(text.substr(done, at - done), add_word);
      tokens.ids.push_back(special_[special]);
      cut();
      done = at += kSpecialTokens[special].size();
    }
    words_.Split(text.substr(done), add_word);
    tokens.count = static_cast<int>(tokens.ids.size() + dropped + 1);
    tokens.truncated = dropped > 0;
    tokens.ids.push_back(special_[kSep]);
    return tokens;
  }

  int32_t pad_id() const override { return special_[kPad]; }

 private:
  // The special token at the front of `text`, or -1. None is the front of another.
  static int SpecialAt(std::string_view text) {
    for (size_t i = 0; i < kSpecialTokens.size(); ++i) {
      if (text.starts_with(kSpecialTokens[i])) return static_cast<int>(i);
    }
    return -1;
  }

  // Longest match first; a word with a part in no token is one [UNK].
  void AppendWord(std::string_view word, int chars, std::vector<int32_t>& ids) const {
    const size_t before = ids.size();
    bool known = chars <= max_word_chars_;
    WordPieceTrie::Node from = WordPieceTrie::kRoot;
    while (known && !word.empty()) {
      const WordPieceTrie::Match match = trie_.LongestMatch(from, word);
      known = match.id >= 0;
      if (known) ids.push_back(match.id);
      word.remove_prefix(match.length);
      from = continuation_;
    }
    if (known) return;
    ids.resize(before);
    ids.push_back(special_[kUnk]);
  }

  const BertWords words_;
  const WordPieceTrie trie_;
  const WordPieceTrie::Node continuation_;
  const SpecialIds special_;
  const int max_word_chars_;
};

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const DecodedChar c = DecodeUtf8(text);
    if (!c.well_formed) return false;
    text.remove_prefix(c.length);
  }
  return true;
}

absl::Status BadLine(size_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("vocabulary line ", line, ": ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeWordPieceTokenizer(std::string_view vocabulary,
                                                                  const WordPieceOptions& options) {
  if (options.max_word_chars < 1 || options.max_word_chars > kMaxWordChars) {
    return absl::InvalidArgumentError(absl::StrCat("max_word_chars is ", options.max_word_chars,
                                                   "; it must be from 1 to ", kMaxWordChars));
  }
  VocabularyEntries entries;
  absl::flat_hash_map<std::string_view, int32_t> ids;
  while (!vocabulary.empty()) {
    const size_t end = std::min(vocabulary.find('\n'), vocabulary.size());
    std::string_view token = vocabulary.substr(0, end);
    vocabulary.remove_prefix(std::min(end + 1, vocabulary.size()));
    if (token.ends_with("\r")) token.remove_suffix(1);
    const size_t line = entries.size() + 1;
    if (token.empty()) return BadLine(line, "the token is empty");
    if (!IsUtf8(token)) return BadLine(line, "the token is not UTF-8");
    const auto [first, is_new] = ids.emplace(token, static_cast<int32_t>(entries.size()));
    if (!is_new) {
      return BadLine(line, absl::StrCat("the token '", std::string(token),
                                        "' already stands on line ", first->second + 1));
    }
    entries.emplace_back(token, first->second);
  }
  SpecialIds special;
  for (size_t i = 0; i < kSpecialTokens.size(); ++i) {
    const auto found = ids.find(kSpecialTokens[i]);
    if (found == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the vocabulary of ", entries.size(), " tokens lacks ",
                       std::string(kSpecialTokens[i]), "; a BERT vocab.txt has it"));
    }
    special[i] = found->second;
  }
  return std::make_unique<WordPieceTokenizer>(std::move(entries), special, options);
}

}  // namespace vecino::encoder
