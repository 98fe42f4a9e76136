// A model folder on disk: read, checked against its hashes, and handed over as bytes.
// docs/encoder.md tells the format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "encoder/encoder.h"

namespace vecino::encoder {

// A sentence and what the model must make of it.
struct GoldenSentence {
  std::string text;
  std::vector<int32_t> ids;   // special tokens included, cut to max_tokens
  std::vector<float> vector;  // `dimension` floats
};

// A pair of texts and what a reranker must make of it.
struct GoldenPair {
  std::string query, text;
  std::vector<int32_t> ids;    // special tokens included, cut to max_tokens
  std::vector<int32_t> types;  // of each of them
  float logit = 0;
};

struct ModelFolder {
  ModelInfo info;
  std::string tokenizer;   // the manifest's `tokenizer`, as JSON, and
  std::string vocabulary;  // the bytes of its file: what ReadTokenizer takes
  int vocab_size = 0;
  std::string module_bytes;            // model.pt
  std::vector<GoldenSentence> golden;  // none of a reranker
  std::vector<GoldenPair> pairs;       // none of another
  int token_types = 1;  // of a reranker: 2 where the second text of a pair has type 1
};

// SHA-256 in lower-case hex. INTERNAL: OpenSSL cannot.
absl::StatusOr<std::string> Sha256(std::string_view bytes);

// True for letters, digits, '.', '_' and '-', the first a letter or digit, at most 128.
bool IsModelName(std::string_view name);

// Names of the model folders directly under `root`, sorted: those with a valid name that hold a
// manifest.json. NOT_FOUND, PERMISSION_DENIED: the root cannot be read. Blocks on the file system.
absl::StatusOr<std::vector<std::string>> ListModelFolders(const std::filesystem::path& root);

// Reads `root`/`name`. Every file is read once, and its bytes are hashed and returned.
// INVALID_ARGUMENT: the name. NOT_FOUND: a file is missing. UNIMPLEMENTED: a format version,
// architecture, pooling, precision or tokenizer this build does not know. DATA_LOSS: damaged; size
// or hash differ, or a value is out of range. Blocks on the file system.
absl::StatusOr<ModelFolder> ReadModelFolder(const std::filesystem::path& root,
                                            std::string_view name);

}  // namespace vecino::encoder
