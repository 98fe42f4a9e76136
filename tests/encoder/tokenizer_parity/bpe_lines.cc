// Token ids of binary records by a byte-level BPE, for check_bpe.py.
//
// Usage: bpe_lines VOCABULARY.JSON ADD_PREFIX_SPACE MAX_TOKENS
//   ADD_PREFIX_SPACE is 0 or 1. Records and ids are as in tokenize_lines.cc.
//   stderr: the seconds that the tokenizer took.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "encoder/byte_bpe.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: bpe_lines VOCABULARY.JSON ADD_PREFIX_SPACE MAX_TOKENS\n";
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  const nlohmann::json json = nlohmann::json::parse(file);
  const auto bpe = vecino::encoder::MakeByteBpe({.tokens = json.at("tokens"),
                                                 .merges = json.at("merges"),
                                                 .add_prefix_space = std::string(argv[2]) == "1"});
  if (!bpe.ok()) {
    std::cerr << argv[1] << ": " << bpe.status() << '\n';
    return 1;
  }
  const size_t most = std::stoul(argv[3]);
  std::chrono::steady_clock::duration spent{};
  std::string text;
  std::vector<int32_t> ids;
  for (uint32_t length; std::fread(&length, sizeof(length), 1, stdin) == 1;) {
    text.resize(length);
    if (std::fread(text.data(), 1, length, stdin) != length) {
      std::cerr << "the last record is cut off\n";
      return 1;
    }
    ids.clear();
    const auto start = std::chrono::steady_clock::now();
    (*bpe)->Append(text, &ids);
    spent += std::chrono::steady_clock::now() - start;
    const uint32_t head[2] = {static_cast<uint32_t>(ids.size()),
                              static_cast<uint32_t>(std::min(ids.size(), most))};
    std::fwrite(head, sizeof(head), 1, stdout);
    std::fwrite(ids.data(), sizeof(int32_t), head[1], stdout);
  }
  std::cerr << std::chrono::duration<double>(spent).count() << '\n';
  return 0;
}
