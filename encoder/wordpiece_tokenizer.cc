#include "encoder/wordpiece_tokenizer.h"

#include <algorithm>
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

constexpr std::string_view kContinuation = "##";
constexpr int kMaxWordChars = 10'000;

using VocabularyEntries = std::vector<std::pair<std::string_view, int32_t>>;
using Ids = absl::flat_hash_map<std::string_view, int32_t>;

class WordPiece : public Subwords {
 public:
  WordPiece(VocabularyEntries vocabulary, int32_t unk, const WordPieceOptions& options)
      : words_(options),
        trie_(std::move(vocabulary)),
        continuation_(trie_.Descend(kContinuation)),
        unk_(unk),
        max_word_chars_(options.max_word_chars) {}

  void Append(std::string_view text, std::vector<int32_t>* ids) const override {
    words_.Split(text, [&](std::string_view word, int chars) { AppendWord(word, chars, *ids); });
  }

 private:
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
    ids.push_back(unk_);
  }

  const BertWords words_;
  const WordPieceTrie trie_;
  const WordPieceTrie::Node continuation_;
  const int32_t unk_;
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

// The lines of a vocab.txt and their numbers.
absl::Status ReadVocabulary(std::string_view vocabulary, VocabularyEntries* entries, Ids* ids) {
  while (!vocabulary.empty()) {
    const size_t end = std::min(vocabulary.find('\n'), vocabulary.size());
    std::string_view token = vocabulary.substr(0, end);
    vocabulary.remove_prefix(std::min(end + 1, vocabulary.size()));
    if (token.ends_with("\r")) token.remove_suffix(1);
    const size_t line = entries->size() + 1;
    if (token.empty()) return BadLine(line, "the token is empty");
    if (!IsUtf8(token)) return BadLine(line, "the token is not UTF-8");
    const auto [first, is_new] = ids->emplace(token, static_cast<int32_t>(entries->size()));
    if (!is_new) {
      return BadLine(line, absl::StrCat("the token '", std::string(token),
                                        "' already stands on line ", first->second + 1));
    }
    entries->emplace_back(token, first->second);
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> IdOf(const Ids& ids, std::string_view token) {
  const auto found = ids.find(token);
  if (found != ids.end()) return found->second;
  return absl::InvalidArgumentError(absl::StrCat("the vocabulary of ", ids.size(), " tokens lacks ",
                                                 std::string(token),
                                                 "; a model of this kind has it"));
}

absl::StatusOr<std::unique_ptr<Subwords>> Make(std::string_view vocabulary,
                                               const WordPieceOptions& options, Ids* ids) {
  if (options.max_word_chars < 1 || options.max_word_chars > kMaxWordChars) {
    return absl::InvalidArgumentError(absl::StrCat("max_word_chars is ", options.max_word_chars,
                                                   "; it must be from 1 to ", kMaxWordChars));
  }
  VocabularyEntries entries;
  if (absl::Status status = ReadVocabulary(vocabulary, &entries, ids); !status.ok()) return status;
  const absl::StatusOr<int32_t> unk = IdOf(*ids, options.unk);
  if (!unk.ok()) return unk.status();
  return std::make_unique<WordPiece>(std::move(entries), *unk, options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Subwords>> MakeWordPiece(std::string_view vocabulary,
                                                        const WordPieceOptions& options) {
  Ids ids;
  return Make(vocabulary, options, &ids);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeWordPieceTokenizer(std::string_view vocabulary,
                                                                  const WordPieceOptions& options) {
  Ids ids;
  auto subwords = Make(vocabulary, options, &ids);
  if (!subwords.ok()) return subwords.status();
  SpecialTokens special;
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    const absl::StatusOr<int32_t> id = IdOf(ids, token);
    if (!id.ok()) return id.status();
    special.added.push_back({token, *id});
  }
  special.pad = special.added[0].id;
  special.begin = special.added[2].id;
  special.end = special.added[3].id;
  return MakeTokenizer(*std::move(subwords), std::move(special));
}

}  // namespace vecino::encoder
