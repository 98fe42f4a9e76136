// Runs a target of libFuzzer without libFuzzer: every file of a folder as it is, then mutations of
// them.
//   target SECONDS FOLDER DICTIONARY [SEED]
// DICTIONARY is a file of what inputs are made of, as libFuzzer's -dict. The same seed gives the
// same inputs; without one it is 1, so that ctest runs the same ones every time (as many as there
// is time for). An input that ends the process is in ./TARGET-crash-input before it runs.
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
#include <utility>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMostBytes = 64 << 10;

// The entries of a dictionary as libFuzzer's -dict has them: a quoted string in each line, in which
// \\, \" and \xAB stand for a byte; what is not quoted is passed over. Empty: the file cannot be
// read, or an entry is not closed.
std::vector<std::string> ReadDictionary(const char* path) {
  std::vector<std::string> tokens;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() != '"') continue;
    std::string token;
    size_t i = 1;
    for (; i < line.size() && line[i] != '"'; ++i) {
      if (line[i] == '\\' && i + 3 < line.size() && line[i + 1] == 'x') {
        token.push_back(static_cast<char>(std::stoi(line.substr(i + 2, 2), nullptr, 16)));
        i += 3;
      } else {
        if (line[i] == '\\' && i + 1 < line.size()) ++i;
        token.push_back(line[i]);
      }
    }
    if (i == line.size()) return {};
    tokens.push_back(std::move(token));
  }
  return tokens;
}

class Mutator {
 public:
  Mutator(std::vector<std::string> corpus, std::vector<std::string> tokens, uint64_t seed)
      : corpus_(std::move(corpus)), tokens_(std::move(tokens)), random_(seed) {}

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
        s->insert(at, tokens_[Below(tokens_.size())]);
        break;
      case 4:
        s->replace(at, length, tokens_[Below(tokens_.size())]);
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
  const std::vector<std::string> tokens_;
  std::mt19937_64 random_;
};

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s SECONDS FOLDER DICTIONARY [SEED]\n", argv[0]);
    return 2;
  }
  const std::string crash_input =
      std::filesystem::path(argv[0]).filename().string() + "-crash-input";
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
  std::vector<std::string> tokens = ReadDictionary(argv[3]);
  if (tokens.empty()) {
    std::fprintf(stderr, "no entries in %s, or one that is not closed\n", argv[3]);
    return 1;
  }
  Mutator mutator(corpus, std::move(tokens), argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[1]));
  size_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    const std::string input = mutator.Next();
    std::ofstream(crash_input, std::ios::binary) << input;
    Run(input);
  }
  std::filesystem::remove(crash_input);
  std::printf("%zu files and %zu mutations of them\n", corpus.size(), runs);
  return 0;
}
