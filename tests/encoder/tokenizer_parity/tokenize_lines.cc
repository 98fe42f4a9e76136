// Token ids of binary records, for check_parity.py.
//
// Usage: tokenize_lines VOCAB.TXT LOWERCASE STRIP_ACCENTS HANDLE_CHINESE CLEAN_TEXT MAX_TOKENS
//   The options are 0 or 1, STRIP_ACCENTS also "auto".
//   stdin:  records of a uint32 length and as many bytes.
//   stdout: for each a uint32 count before the cut, a uint32 n and n int32 ids.
// All numbers are in the machine's byte order.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "encoder/wordpiece_tokenizer.h"

namespace {

void Write(const void* data, size_t bytes) { std::fwrite(data, 1, bytes, stdout); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::cerr << "usage: tokenize_lines VOCAB.TXT LOWERCASE STRIP_ACCENTS HANDLE_CHINESE "
                 "CLEAN_TEXT MAX_TOKENS\n";
    return 2;
  }
  const auto flag = [&](int i) { return std::string(argv[i]) == "1"; };
  std::ifstream file(argv[1], std::ios::binary);
  std::stringstream vocabulary;
  vocabulary << file.rdbuf();
  vecino::encoder::WordPieceOptions options;
  options.lowercase = flag(2);
  if (std::string(argv[3]) != "auto") options.strip_accents = flag(3);
  options.handle_chinese_chars = flag(4);
  options.clean_text = flag(5);
  const auto tokenizer = vecino::encoder::MakeWordPieceTokenizer(vocabulary.str(), options);
  if (!tokenizer.ok()) {
    std::cerr << argv[1] << ": " << tokenizer.status() << '\n';
    return 1;
  }
  std::string text;
  for (uint32_t length; std::fread(&length, sizeof(length), 1, stdin) == 1;) {
    text.resize(length);
    if (std::fread(text.data(), 1, length, stdin) != length) {
      std::cerr << "the last record is cut off\n";
      return 1;
    }
    const vecino::encoder::Tokens tokens = (*tokenizer)->Encode(text, std::stoi(argv[6]));
    const uint32_t head[2] = {static_cast<uint32_t>(tokens.count),
                              static_cast<uint32_t>(tokens.ids.size())};
    Write(head, sizeof(head));
    Write(tokens.ids.data(), tokens.ids.size() * sizeof(int32_t));
  }
  return 0;
}
