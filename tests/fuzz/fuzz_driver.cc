// Runs a target of libFuzzer without libFuzzer: every file of a folder as it is, then mutations of
// them.
//   target SECONDS FOLDER [SEED]
// The same seed gives the same inputs; without one it is 1, so that ctest runs the same ones every
// time (as many as there is time for). An input that ends the process is in ./crash-input before it
// runs.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMostBytes = 64 << 10;

// What JSON is made of, and what has troubled its readers.
const std::vector<std::string> kTokens = {"{",
                                          "}",
                                          "[",
                                          "]",
                                          ":",
                                          ",",
                                          "\"",
                                          "\\",
                                          "null",
                                          "true",
                                          "false",
                                          "0",
                                          "-0",
                                          "1e400",
                                          "-1e-400",
                                          "1.0",
                                          "1e39",
                                          "NaN",
                                          "\"NaN\"",
                                          "Infinity",
                                          "\\u0000",
                                          "\\ud800",
                                          "\\udfff",
                                          "\\ud83d\\ude00",
                                          "\xff",
                                          "\xc0\x80",
                                          "\xed\xa0\x80",
                                          "\xef\xbb\xbf",
                                          "[[[[[[[[",
                                          "{\"a\":{\"a\":",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "-2147483649",
                                          "\"@type\":",
                                          "\"1s\"",
                                          "\"-1.5s\"",
                                          "\"315576000001s\"",
                                          "\"2024-01-02T03:04:05Z\"",
                                          "\"9999-12-31T23:59:60Z\"",
                                          "\"a.b,c\"",
                                          "'",
                                          "/*",
                                          "//",
                                          "\n",
                                          "\t",
                                          "\"text\":",
                                          "\"vector\":",
                                          "\"values\":",
                                          "\"metadata\":",
                                          "\"documents\":",
                                          "\"float32Le\":"};

class Mutator {
 public:
  Mutator(std::vector<std::string> corpus, uint64_t seed)
      : corpus_(std::move(corpus)), random_(seed) {}

  std::string Next() {
    std::string input = corpus_[Below(corpus_.size())];
    for (size_t i = 1 + Below(6); i > 0; --i) Mutate(&input);
    if (input.size() > kMostBytes) input.resize(kMostBytes);
    return input;
  }

 private:
  size_t Below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }

  void Mutate(std::string* s) {
    const size_t at = Below(s->size() + 1);
    const size_t length = std::min(s->size() - at, Below(16));
    switch (Below(8)) {
      case 0:
        if (at < s->size()) (*s)[at] = static_cast<char>((*s)[at] ^ (1 << Below(8)));
        break;
      case 1:
        s->insert(at, 1, static_cast<char>(Below(256)));
        break;
      case 2:
        s->erase(at, length);
        break;
      case 3:
        s->insert(at, kTokens[Below(kTokens.size())]);
        break;
      case 4:
        s->replace(at, length, kTokens[Below(kTokens.size())]);
        break;
      case 5:  // again, once or so often that depth and size matter
        for (size_t i = Below(10) == 0 ? Below(4000) : 1; i > 0 && s->size() < kMostBytes; --i) {
          s->insert(at, s->substr(at, length));
        }
        break;
      case 6: {  // the end of another
        const std::string& other = corpus_[Below(corpus_.size())];
        s->replace(at, std::string::npos, other.substr(Below(other.size() + 1)));
        break;
      }
      default: {  // a value in another's place
        const std::string value = s->substr(at, length);
        s->insert(Below(s->size() + 1), value);
        break;
      }
    }
  }

  const std::vector<std::string> corpus_;
  std::mt19937_64 random_;
};

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s SECONDS FOLDER [SEED]\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2]))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    Run(corpus.back());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "no files in %s\n", argv[2]);
    return 1;
  }
  Mutator mutator(corpus, argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[1]));
  size_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    const std::string input = mutator.Next();
    std::ofstream("crash-input", std::ios::binary) << input;
    Run(input);
  }
  std::filesystem::remove("crash-input");
  std::printf("%zu files and %zu mutations of them\n", corpus.size(), runs);
  return 0;
}
