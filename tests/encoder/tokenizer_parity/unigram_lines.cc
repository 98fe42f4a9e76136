// Unigram ids of binary records, for check_unigram.py.
//
// Usage: unigram_lines OPTIONS.JSON VOCABULARY.JSON MAX_TOKENS
//   The files are what encoder/export/unigram_source.py makes.
//   stdin and stdout: as those of tokenize_lines.cc.
//   stderr: the ids made and the seconds it took.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "encoder/unigram.h"
#include "nlohmann/json.hpp"

namespace {

vecino::encoder::UnigramVocabulary Read(const char* options_path, const char* vocabulary_path) {
  const auto options = nlohmann::json::parse(std::ifstream(options_path));
  const auto file = nlohmann::json::parse(std::ifstream(vocabulary_path));
  vecino::encoder::UnigramVocabulary vocabulary;
  for (const auto& piece : file.at("pieces")) {
    vocabulary.pieces.emplace_back(piece.at(0).get<std::string>(),
                                   piece.at(1).is_null() ? std::numeric_limits<double>::quiet_NaN()
                                                         : piece.at(1).get<double>());
  }
  absl::Base64Unescape(file.at("charsmap").get<std::string>(), &vocabulary.charsmap);
  options.at("unk_id").get_to(vocabulary.unk_id);
  options.at("strip_left").get_to(vocabulary.strip_left);
  options.at("strip_right").get_to(vocabulary.strip_right);
  options.at("collapse_spaces").get_to(vocabulary.collapse_spaces);
  options.at("whitespace_split").get_to(vocabulary.whitespace_split);
  options.at("prefix_space").get_to(vocabulary.prefix_space);
  return vocabulary;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: unigram_lines OPTIONS.JSON VOCABULARY.JSON MAX_TOKENS\n";
    return 2;
  }
  const auto unigram = vecino::encoder::MakeUnigram(Read(argv[1], argv[2]));
  if (!unigram.ok()) {
    std::cerr << argv[2] << ": " << unigram.status() << '\n';
    return 1;
  }
  const size_t max_tokens = std::stoul(argv[3]);
  std::vector<std::string> texts;
  for (uint32_t length; std::fread(&length, sizeof(length), 1, stdin) == 1;) {
    texts.emplace_back(length, '\0');
    if (std::fread(texts.back().data(), 1, length, stdin) != length) {
      std::cerr << "the last record is cut off\n";
      return 1;
    }
  }
  const auto start = std::chrono::steady_clock::now();
  std::vector<int32_t> ids;
  std::vector<size_t> ends;
  for (const std::string& text : texts) {
    (*unigram)->Append(text, &ids);
    ends.push_back(ids.size());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cerr << ids.size() << ' ' << seconds.count() << '\n';
  size_t begin = 0;
  for (const size_t end : ends) {
    const uint32_t count = static_cast<uint32_t>(end - begin);
    const uint32_t head[2] = {count, static_cast<uint32_t>(std::min<size_t>(count, max_tokens))};
    std::fwrite(head, 1, sizeof(head), stdout);
    std::fwrite(ids.data() + begin, sizeof(int32_t), head[1], stdout);
    begin = end;
  }
  return 0;
}
