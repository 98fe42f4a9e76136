// Tokens a second of the WordPiece tokenizer on one core.
//
// Usage: tokenizer_bench VOCAB.TXT TEXTS [REPEATS]
//   TEXTS is a file with one text a line. Prints the median, least and most of REPEATS (default 9)
//   passes over all of them; tokenizer_peer.py measures Hugging Face's on the same file.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "encoder/wordpiece_tokenizer.h"

namespace {

constexpr int kMaxTokens = 256;  // the window of all-MiniLM-L6-v2

std::string Read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::cerr << "usage: tokenizer_bench VOCAB.TXT TEXTS [REPEATS]\n";
    return 2;
  }
  const int repeats = argc == 4 ? std::max(std::atoi(argv[3]), 1) : 9;
  const auto tokenizer = vecino::encoder::MakeWordPieceTokenizer(Read(argv[1]), {});
  if (!tokenizer.ok()) {
    std::cerr << argv[1] << ": " << tokenizer.status() << '\n';
    return 1;
  }
  std::vector<std::string> texts;
  std::istringstream lines(Read(argv[2]));
  for (std::string line; std::getline(lines, line);) texts.push_back(line);

  std::vector<double> rates;
  int64_t tokens = 0;
  for (int i = 0; i < repeats; ++i) {
    tokens = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& text : texts)
      tokens += (*tokenizer)->Encode(text, kMaxTokens).ids.size();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    rates.push_back(tokens / seconds.count());
  }
  if (tokens == 0) {
    std::cerr << argv[2] << ": no texts\n";
    return 1;
  }
  std::sort(rates.begin(), rates.end());
  std::cout << texts.size() << " texts, " << tokens << " tokens: median "
            << static_cast<int64_t>(rates[repeats / 2]) << " tokens/s, least "
            << static_cast<int64_t>(rates.front()) << ", most "
            << static_cast<int64_t>(rates.back()) << '\n';
  return 0;
}
