#include "tests/encoder/model_fixture.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include <fstream>
#include <iterator>

namespace vecino::encoder {
namespace {

namespace fs = std::filesystem;

std::string Sha256(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr), 1);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += {kDigits[digest[i] / 16], kDigits[digest[i] % 16]};
  }
  return hex;
}

}  // namespace

fs::path NewTempDir() {
  std::string name = (fs::path(testing::TempDir()) / "vecino_encoder_XXXXXX").string();
  EXPECT_NE(mkdtemp(name.data()), nullptr) << name;
  return name;
}

std::string ReadAll(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteAll(const fs::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  EXPECT_TRUE(file.flush()) << path;
}

void UpdateManifest(const fs::path& folder, nlohmann::json manifest) {
  for (const char* name : {"model.pt", "vocab.txt", "golden.json"}) {
    const std::string bytes = ReadAll(folder / name);
    manifest["files"][name] = {{"bytes", bytes.size()}, {"sha256", Sha256(bytes)}};
  }
  WriteAll(folder / "manifest.json", manifest.dump(2));
}

void WriteTinyFolder(const fs::path& folder) {
  fs::create_directories(folder);
  WriteAll(folder / "model.pt", "no TorchScript");
  WriteAll(folder / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n");
  WriteAll(folder / "golden.json",
           R"({"sentences": [{"text": "a", "ids": [2, 5, 3], "vector": [0.6, 0.8]}]})");
  UpdateManifest(folder, {{"format_version", 1},
                          {"name", "tiny"},
                          {"architecture", "bert"},
                          {"dimension", 2},
                          {"max_tokens", 16},
                          {"pooling", "mean"},
                          {"normalize", true},
                          {"prompts", {{"query", "q: "}, {"document", ""}}},
                          {"precision", "fp32"},
                          {"tokenizer",
                           {{"type", "wordpiece"},
                            {"lowercase", true},
                            {"strip_accents", false},
                            {"handle_chinese_chars", true},
                            {"clean_text", true},
                            {"max_word_chars", 50}}},
                          {"vocab_size", 6}});
}

void LinkRealModel(const fs::path& root, const std::string& name) {
  const fs::path real = fs::absolute(ModelRoot() / kRealModel);
  fs::create_directories(root / name);
  for (const char* file : {"model.pt", "vocab.txt"}) {
    fs::create_symlink(real / file, root / name / file);
  }
  for (const char* file : {"manifest.json", "golden.json"}) {
    fs::copy_file(real / file, root / name / file);
  }
}

}  // namespace vecino::encoder
