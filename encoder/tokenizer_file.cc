#include "encoder/tokenizer_file.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "encoder/byte_bpe.h"
#include "encoder/unigram.h"
#include "encoder/wordpiece_tokenizer.h"

namespace vecino::encoder {
namespace {

using nlohmann::json;

WordPieceOptions ReadWordPieceOptions(const json& options) {
  return {.lowercase = options.at("lowercase").get<bool>(),
          .strip_accents = options.at("strip_accents").get<bool>(),
          .handle_chinese_chars = options.at("handle_chinese_chars").get<bool>(),
          .clean_text = options.at("clean_text").get<bool>(),
          .max_word_chars = options.at("max_word_chars").get<int>(),
          .unk = options.value("unk", "[UNK]")};
}

absl::StatusOr<int32_t> ReadId(const json& value, const std::string& where, int vocab_size) {
  const auto id = value.get<int64_t>();
  if (id >= 0 && id < vocab_size) return static_cast<int32_t>(id);
  return absl::DataLossError(
      absl::StrCat("tokenizer: ", where, " is ", id, "; the vocabulary has ", vocab_size));
}

absl::StatusOr<SpecialTokens> ReadSpecialTokens(const json& options, int vocab_size) {
  SpecialTokens special;
  for (const auto& [name, to] : {std::pair<const char*, int32_t*>{"begin", &special.begin},
                                 {"end", &special.end},
                                 {"pad", &special.pad}}) {
    const auto id = ReadId(options.at(name), name, vocab_size);
    if (!id.ok()) return id.status();
    *to = *id;
  }
  special.two_between = options.at("two_between").get<bool>();
  for (const json& entry : options.at("added_tokens")) {
    AddedToken& token = special.added.emplace_back();
    token.content = entry.at("content").get<std::string>();
    if (token.content.empty()) return absl::DataLossError("tokenizer: an added token is empty");
    const auto id = ReadId(entry.at("id"), "an added token's id", vocab_size);
    if (!id.ok()) return id.status();
    token.id = *id;
    token.lstrip = entry.at("lstrip").get<bool>();
    token.rstrip = entry.at("rstrip").get<bool>();
  }
  return special;
}

// What a text could become an id of must have a word embedding.
absl::Status CheckSize(size_t tokens, int vocab_size) {
  if (tokens <= static_cast<size_t>(vocab_size)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "the vocabulary has ", tokens, " tokens, but manifest.json's vocab_size is ", vocab_size));
}

absl::StatusOr<std::unique_ptr<Subwords>> ReadByteBpe(const json& options,
                                                      std::string_view vocabulary, int vocab_size) {
  const json file = json::parse(vocabulary);
  if (absl::Status status = CheckSize(file.at("tokens").size(), vocab_size); !status.ok()) {
    return status;
  }
  ByteBpeVocabulary bpe{.tokens = file.at("tokens").get<std::vector<std::string>>(),
                        .merges = {},
                        .add_prefix_space = options.at("add_prefix_space").get<bool>()};
  for (const json& merge : file.at("merges")) {
    const auto left = ReadId(merge.at(0), "a merge's left id", vocab_size);
    const auto right = ReadId(merge.at(1), "a merge's right id", vocab_size);
    if (!left.ok()) return left.status();
    if (!right.ok()) return right.status();
    bpe.merges.emplace_back(*left, *right);
  }
  return MakeByteBpe(bpe);
}

absl::StatusOr<std::unique_ptr<Subwords>> ReadUnigram(const json& options,
                                                      std::string_view vocabulary, int vocab_size) {
  const json file = json::parse(vocabulary);
  if (absl::Status status = CheckSize(file.at("pieces").size(), vocab_size); !status.ok()) {
    return status;
  }
  UnigramVocabulary unigram;
  for (const json& piece : file.at("pieces")) {
    unigram.pieces.emplace_back(piece.at(0).get<std::string>(),
                                piece.at(1).is_null() ? std::numeric_limits<double>::quiet_NaN()
                                                      : piece.at(1).get<double>());
  }
  if (!absl::Base64Unescape(file.at("charsmap").get<std::string>(), &unigram.charsmap)) {
    return absl::DataLossError("vocabulary.json: charsmap is not base64");
  }
  const auto unk_id = ReadId(options.at("unk_id"), "unk_id", vocab_size);
  if (!unk_id.ok()) return unk_id.status();
  unigram.unk_id = *unk_id;
  unigram.strip_left = options.at("strip_left").get<bool>();
  unigram.strip_right = options.at("strip_right").get<bool>();
  unigram.collapse_spaces = options.at("collapse_spaces").get<std::string>();
  unigram.whitespace_split = options.at("whitespace_split").get<bool>();
  unigram.prefix_space = options.at("prefix_space").get<bool>();
  return MakeUnigram(unigram);
}

// May throw nlohmann's exceptions.
absl::StatusOr<std::unique_ptr<Subwords>> ReadSubwords(const std::string& type, const json& options,
                                                       std::string_view vocabulary,
                                                       int vocab_size) {
  if (type == "wordpiece") return MakeWordPiece(vocabulary, ReadWordPieceOptions(options));
  if (type == "bpe") return ReadByteBpe(options, vocabulary, vocab_size);
  if (type == "unigram") return ReadUnigram(options, vocabulary, vocab_size);
  return absl::UnimplementedError(absl::StrCat("tokenizer: type '", type, "' is not known"));
}

}  // namespace

const char* VocabularyFile(std::string_view type) {
  if (type == "wordpiece") return "vocab.txt";
  if (type == "bpe" || type == "unigram") return "vocabulary.json";
  return nullptr;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> ReadTokenizer(std::string_view options,
                                                         std::string_view vocabulary,
                                                         int vocab_size) {
  try {
    const json parsed = json::parse(options);
    const auto type = parsed.at("type").get<std::string>();
    if (type == "wordpiece") {
      const bool open = !vocabulary.empty() && vocabulary.back() != '\n';  // the last line
      const auto lines = std::count(vocabulary.begin(), vocabulary.end(), '\n') + open;
      const absl::Status status = CheckSize(static_cast<size_t>(lines), vocab_size);
      if (!status.ok()) return status;
      if (!parsed.contains("begin")) {
        return MakeWordPieceTokenizer(vocabulary, ReadWordPieceOptions(parsed));
      }
    }
    auto special = ReadSpecialTokens(parsed, vocab_size);
    if (!special.ok()) return special.status();
    auto subwords = ReadSubwords(type, parsed, vocabulary, vocab_size);
    if (!subwords.ok()) return subwords.status();
    return MakeTokenizer(*std::move(subwords), *std::move(special));
  } catch (const json::exception& error) {
    return absl::DataLossError(absl::StrCat("tokenizer: ", error.what()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for a tokenizer");
  }
}

}  // namespace vecino::encoder
