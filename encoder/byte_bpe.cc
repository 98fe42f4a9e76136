#include "encoder/byte_bpe.h"

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "encoder/bpe_merges.h"
#include "encoder/gpt2_words.h"
#include "encoder/utf8.h"
#include "encoder/wordpiece_trie.h"

namespace vecino::encoder {
namespace {

constexpr int kBytes = 256;
using ByteIds = std::array<int32_t, kBytes>;  // the symbol of each byte

// GPT-2's alphabet: a character for each byte, so that a token is printable text. A printable
// Latin-1 character stands for its own byte; the other bytes, in order, are U+0100 and up.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    bytes_.fill(-1);
    char32_t next = kBytes;
    for (int byte = 0; byte < kBytes; ++byte) {
      const bool printable =
          (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte < kBytes && byte != 0xAD);
      bytes_[printable ? byte : next++] = static_cast<int16_t>(byte);
    }
  }

  // The bytes that `token` stands for; nullopt when a character is not of the alphabet.
  std::optional<std::string> Bytes(std::string_view token) const {
    std::string bytes;
    while (!token.empty()) {
      const DecodedChar c = DecodeUtf8(token);
      if (c.code >= bytes_.size() || bytes_[c.code] < 0) return std::nullopt;
      bytes.push_back(static_cast<char>(bytes_[c.code]));
      token.remove_prefix(c.length);
    }
    return bytes;
  }

 private:
  static constexpr int kUnprintable = 68;
  std::array<int16_t, kBytes + kUnprintable> bytes_;  // by code point; -1: none
};

void AppendSymbols(std::string_view bytes, const ByteIds& symbols, std::vector<int32_t>* ids) {
  for (const char byte : bytes) ids->push_back(symbols[static_cast<uint8_t>(byte)]);
}

class ByteBpe : public Subwords {
 public:
  // `whole` has the bytes of each token that merges make of its own bytes.
  ByteBpe(const ByteIds& symbols, BpeMerges merges, WordPieceTrie whole, bool add_prefix_space)
      : symbols_(symbols),
        merges_(std::move(merges)),
        whole_(std::move(whole)),
        add_prefix_space_(add_prefix_space) {}

  void Append(std::string_view text, std::vector<int32_t>* ids) const override {
    std::string changed;
    if (FindInvalidUtf8(text)) text = changed = RepairUtf8(text);
    if (add_prefix_space_ && !text.empty() && text[0] != ' ') {
      text = changed = std::string(" ").append(text);
    }
    while (!text.empty()) {
      const size_t length = Gpt2WordLength(text);
      AppendWord(text.substr(0, length), ids);
      text.remove_prefix(length);
    }
  }

 private:
  // Most words are a token, found by one look-up; the others are merged from their bytes.
  void AppendWord(std::string_view word, std::vector<int32_t>* ids) const {
    const WordPieceTrie::Match match = whole_.LongestMatch(WordPieceTrie::kRoot, word);
    if (match.length == word.size()) {
      ids->push_back(match.id);
      return;
    }
    const size_t begin = ids->size();
    AppendSymbols(word, symbols_, ids);
    merges_.Join(begin, ids);
  }

  const ByteIds symbols_;
  const BpeMerges merges_;
  const WordPieceTrie whole_;
  const bool add_prefix_space_;
};

using TokenIds = absl::flat_hash_map<std::string_view, int32_t>;

absl::StatusOr<TokenIds> IdsByToken(const std::vector<std::string>& tokens) {
  TokenIds ids;
  for (const std::string& token : tokens) {
    const auto id = static_cast<int32_t>(ids.size());
    const auto [first, is_new] = ids.emplace(token, id);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat("the token '", token, "' has the ids ",
                                                     first->second, " and ", id,
                                                     "; a vocabulary has it once"));
    }
  }
  return ids;
}

absl::StatusOr<BpeMerges> ReadMerges(const ByteBpeVocabulary& vocabulary, const TokenIds& ids) {
  BpeMerges merges;
  const auto count = static_cast<int64_t>(vocabulary.tokens.size());
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const auto [left, right] = vocabulary.merges[i];
    for (const int32_t id : {left, right}) {
      if (id >= 0 && id < count) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "merge ", i, " has the id ", id, "; those of the vocabulary are 0 to ", count - 1));
    }
    const std::string joined = absl::StrCat(vocabulary.tokens[left], vocabulary.tokens[right]);
    const auto found = ids.find(joined);
    if (found == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", i, " makes '", joined, "', which the vocabulary lacks"));
    }
    merges.Add(left, right, found->second);
  }
  return merges;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Subwords>> MakeByteBpe(const ByteBpeVocabulary& vocabulary) {
  const absl::StatusOr<TokenIds> ids = IdsByToken(vocabulary.tokens);
  if (!ids.ok()) return ids.status();
  const ByteAlphabet alphabet;
  std::vector<std::optional<std::string>> bytes;
  ByteIds symbols;
  symbols.fill(-1);
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    bytes.push_back(alphabet.Bytes(vocabulary.tokens[id]));
    if (!bytes[id] || bytes[id]->size() != 1) continue;
    symbols[static_cast<uint8_t>((*bytes[id])[0])] = static_cast<int32_t>(id);
  }
  for (int byte = 0; byte < kBytes; ++byte) {
    if (symbols[byte] >= 0) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "the vocabulary of %d tokens lacks the one of byte 0x%02X; a byte-level BPE has all 256",
        vocabulary.tokens.size(), byte));
  }
  absl::StatusOr<BpeMerges> merges = ReadMerges(vocabulary, *ids);
  if (!merges.ok()) return merges.status();

  std::vector<std::pair<std::string_view, int32_t>> whole;
  std::vector<int32_t> joined;
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (!bytes[id] || bytes[id]->empty()) continue;
    joined.clear();
    AppendSymbols(*bytes[id], symbols, &joined);
    merges->Join(0, &joined);
    if (joined.size() == 1) whole.emplace_back(*bytes[id], joined[0]);
  }
  return std::make_unique<ByteBpe>(symbols, *std::move(merges), WordPieceTrie(std::move(whole)),
                                   vocabulary.add_prefix_space);
}

}  // namespace vecino::encoder
