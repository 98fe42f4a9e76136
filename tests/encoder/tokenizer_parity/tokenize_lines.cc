// Token ids of binary records, for the parity tests.
//
// Usage: tokenize_lines OPTIONS VOCABULARY VOCAB_SIZE MAX_TOKENS [pairs]
//   OPTIONS: the `tokenizer` of a manifest, as JSON; VOCABULARY: its file.
//   stdin:  records of a uint32 length and as many bytes; with `pairs` two for each pair.
//   stdout: for each text or pair a uint32 count before the cut, the uint32 index of a pair's
//           second text, a uint32 n and n int32 ids.
// All numbers are in the machine's byte order. Prints the seconds of tokenising to stderr.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>

#include "encoder/tokenizer_file.h"

namespace {

void Write(const void* data, size_t bytes) { std::fwrite(data, 1, bytes, stdout); }

// False at the end of stdin; a record cut off ends the process.
bool ReadRecord(std::string* text) {
  uint32_t length = 0;
  if (std::fread(&length, sizeof(length), 1, stdin) != 1) return false;
  text->resize(length);
  if (std::fread(text->data(), 1, length, stdin) == length) return true;
  std::cerr << "the last record is cut off\n";
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  const bool pairs = argc == 6 && std::string_view(argv[5]) == "pairs";
  if (argc != 5 && !pairs) {
    std::cerr << "usage: tokenize_lines OPTIONS VOCABULARY VOCAB_SIZE MAX_TOKENS [pairs]\n";
    return 2;
  }
  std::ifstream file(argv[2], std::ios::binary);
  std::stringstream vocabulary;
  vocabulary << file.rdbuf();
  const auto tokenizer =
      vecino::encoder::ReadTokenizer(argv[1], vocabulary.str(), std::stoi(argv[3]));
  if (!tokenizer.ok()) {
    std::cerr << argv[2] << ": " << tokenizer.status() << '\n';
    return 1;
  }
  const int max_tokens = std::stoi(argv[4]);
  std::chrono::steady_clock::duration spent{};
  for (std::string text, second; ReadRecord(&text);) {
    if (pairs && !ReadRecord(&second)) break;
    const auto start = std::chrono::steady_clock::now();
    const vecino::encoder::Tokens tokens = pairs
                                               ? (*tokenizer)->EncodePair(text, second, max_tokens)
                                               : (*tokenizer)->Encode(text, max_tokens);
    spent += std::chrono::steady_clock::now() - start;
    const uint32_t head[3] = {static_cast<uint32_t>(tokens.count),
                              static_cast<uint32_t>(tokens.second),
                              static_cast<uint32_t>(tokens.ids.size())};
    Write(head, sizeof(head));
    Write(tokens.ids.data(), tokens.ids.size() * sizeof(int32_t));
  }
  std::cerr << std::chrono::duration<double>(spent).count() << '\n';
  return 0;
}
