#include "encoder/model_folder.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "encoder/tokenizer_file.h"

namespace vecino::encoder {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr int kRerankFormatVersion = 2;  // has a task
constexpr int64_t kMaxManifestBytes = 1 << 20;
constexpr int64_t kMaxFileBytes = int64_t{16} << 30;  // far above any BERT
constexpr int kMaxDimension = 65536;
constexpr int kMaxTokens = 65536;
constexpr size_t kMaxPrompts = 64;
constexpr size_t kMaxPromptNameBytes = 64;
constexpr size_t kMaxPromptBytes = 4096;
constexpr int kMaxDepth = 32;  // of a manifest: ours have four

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path, int64_t max_bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(path.string(), ": no such file"));
  }
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) return absl::DataLossError(absl::StrCat(path.string(), ": ", error.message()));
  if (size > max_bytes) {
    return absl::DataLossError(
        absl::StrCat(path.string(), ": ", size, " bytes; at most ", max_bytes, " are expected"));
  }
  std::string bytes(static_cast<size_t>(size), '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(bytes.data(), size)) {
    return absl::DataLossError(absl::StrCat(path.string(), ": cannot read ", size, " bytes"));
  }
  return bytes;
}

// Reads a file that the manifest lists with its size and hash.
absl::StatusOr<std::string> ReadListedFile(const std::filesystem::path& folder, const char* name,
                                           const json& manifest) {
  const json& entry = manifest.at("files").at(name);
  const auto expected_bytes = entry.at("bytes").get<int64_t>();
  const auto expected_hash = entry.at("sha256").get<std::string>();
  absl::StatusOr<std::string> bytes =
      ReadFile(folder / name, std::clamp<int64_t>(expected_bytes, 0, kMaxFileBytes));
  if (!bytes.ok()) return bytes;
  const absl::StatusOr<std::string> hash = Sha256(*bytes);
  if (!hash.ok()) return hash.status();
  if (*hash != absl::AsciiStrToLower(expected_hash)) {
    return absl::DataLossError(absl::StrCat((folder / name).string(), ": SHA-256 is ", *hash,
                                            ", manifest.json says ", expected_hash,
                                            "; export or download the model again"));
  }
  return bytes;
}

// The words of a manifest and the values this version knows.
struct KnownValues {
  const char* pointer;
  std::array<std::string_view, 4> values;
};
constexpr KnownValues kKnownValues[] = {
    {"/architecture", {"bert", "roberta", "xlm-roberta", "mpnet"}},
    {"/precision", {"fp32"}},
    {"/tokenizer/type", {"wordpiece", "bpe", "unigram"}}};
constexpr KnownValues kEmbedValues[] = {{"/pooling", {"mean", "cls"}}};
constexpr KnownValues kRerankValues[] = {{"/task", {"rerank"}},
                                         {"/activation", {"sigmoid", "identity"}}};

absl::Status CheckFormat(const json& manifest) {
  const int version = manifest.at("format_version").get<int>();
  if (version != kFormatVersion && version != kRerankFormatVersion) {
    return absl::UnimplementedError(absl::StrCat("manifest.json: format_version ", version,
                                                 "; this version of Vecino reads ", kFormatVersion,
                                                 " and ", kRerankFormatVersion));
  }
  std::vector<KnownValues> all(std::begin(kKnownValues), std::end(kKnownValues));
  if (version == kRerankFormatVersion) {
    all.insert(all.end(), std::begin(kRerankValues), std::end(kRerankValues));
  } else {
    all.insert(all.end(), std::begin(kEmbedValues), std::end(kEmbedValues));
  }
  for (const KnownValues& known : all) {
    const auto value = manifest.at(json::json_pointer(known.pointer)).get<std::string>();
    if (value.empty() ||
        std::find(known.values.begin(), known.values.end(), value) == known.values.end()) {
      return absl::UnimplementedError(absl::StrCat("manifest.json: ", known.pointer, " '", value,
                                                   "' is not known to this version of Vecino"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> GetInRange(const json& manifest, const char* key, int low, int high) {
  const auto value = manifest.at(key).get<int64_t>();
  if (value < low || value > high) {
    return absl::DataLossError(absl::StrCat("manifest.json: ", key, " is ", value,
                                            "; it must be in [", low, ", ", high, "]"));
  }
  return static_cast<int>(value);
}

// May throw nlohmann's exceptions, as for `query` or `document` that is not there.
absl::Status ReadPrompts(const json& prompts, ModelInfo& info) {
  for (const std::string_view name : {kQueryPrompt, kDocumentPrompt}) {
    prompts.at(std::string(name));
  }
  if (prompts.size() > kMaxPrompts) {
    return absl::DataLossError(absl::StrCat("manifest.json: prompts has ", prompts.size(),
                                            " names; at most ", kMaxPrompts, " are expected"));
  }
  for (const auto& [name, text] : prompts.items()) {
    Prompt& prompt = info.prompts[name];
    prompt.text = text.get<std::string>();
    if (name.empty() || name.size() > kMaxPromptNameBytes || prompt.text.size() > kMaxPromptBytes) {
      return absl::DataLossError(absl::StrCat("manifest.json: prompts has a name of ", name.size(),
                                              " bytes with a text of ", prompt.text.size(),
                                              "; they must have 1 to ", kMaxPromptNameBytes,
                                              " and at most ", kMaxPromptBytes, " bytes"));
    }
  }
  return absl::OkStatus();
}

absl::Status FillFromManifest(const json& manifest, ModelFolder& folder) {
  if (absl::Status status = CheckFormat(manifest); !status.ok()) return status;
  ModelInfo& info = folder.info;
  const bool reranks = manifest.at("format_version") == kRerankFormatVersion;
  info.task = reranks ? Task::kRerank : Task::kEmbed;
  // A pair has four special tokens.
  const auto max_tokens = GetInRange(manifest, "max_tokens", reranks ? 6 : 2, kMaxTokens);
  const auto vocab_size = GetInRange(manifest, "vocab_size", 1, 1 << 30);
  for (const auto* value : {&max_tokens, &vocab_size}) {
    if (!value->ok()) return value->status();
  }
  info.max_tokens = *max_tokens;
  folder.vocab_size = *vocab_size;
  info.precision = manifest.at("precision").get<std::string>();
  folder.tokenizer = manifest.at("tokenizer").dump();
  if (reranks) {
    const auto types = GetInRange(manifest, "token_types", 1, 2);
    if (!types.ok()) return types.status();
    folder.token_types = *types;
    info.activation = manifest.at("activation").get<std::string>();
    return absl::OkStatus();
  }
  const auto dimension = GetInRange(manifest, "dimension", 1, kMaxDimension);
  if (!dimension.ok()) return dimension.status();
  info.dimension = *dimension;
  info.pooling = manifest.at("pooling").get<std::string>();
  info.normalize = manifest.at("normalize").get<bool>();
  absl::Status prompts = ReadPrompts(manifest.at("prompts"), info);
  if (!prompts.ok()) return prompts;
  if (const auto matryoshka = manifest.find("matryoshka"); matryoshka != manifest.end()) {
    info.matryoshka = matryoshka->get<std::vector<int>>();
    int last = 0;
    for (const int dimensions : info.matryoshka) {
      if (dimensions <= last || dimensions >= info.dimension) {
        return absl::DataLossError(absl::StrCat(
            "manifest.json: matryoshka has ", dimensions,
            "; they must ascend from 1 and stay below the dimension, ", info.dimension));
      }
      last = dimensions;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<GoldenSentence>> ParseGolden(std::string_view text, int dimension) {
  std::vector<GoldenSentence> golden;
  const json document = json::parse(text);
  for (const json& entry : document.at("sentences")) {
    golden.push_back({.text = entry.at("text").get<std::string>(),
                      .ids = entry.at("ids").get<std::vector<int32_t>>(),
                      .vector = entry.at("vector").get<std::vector<float>>()});
    const std::vector<float>& vector = golden.back().vector;
    if (vector.size() != static_cast<size_t>(dimension)) {
      return absl::DataLossError(absl::StrCat("golden.json: vector of ", vector.size(),
                                              " floats, dimension is ", dimension));
    }
  }
  if (golden.empty()) return absl::DataLossError("golden.json holds no sentences");
  return golden;
}

absl::StatusOr<std::vector<GoldenPair>> ParsePairs(std::string_view text) {
  std::vector<GoldenPair> pairs;
  const json document = json::parse(text);
  for (const json& entry : document.at("pairs")) {
    pairs.push_back({.query = entry.at("query").get<std::string>(),
                     .text = entry.at("text").get<std::string>(),
                     .ids = entry.at("ids").get<std::vector<int32_t>>(),
                     .types = entry.at("types").get<std::vector<int32_t>>(),
                     .logit = entry.at("logit").get<float>()});
  }
  if (pairs.empty()) return absl::DataLossError("golden.json holds no pairs");
  return pairs;
}

// May throw nlohmann's exceptions.
absl::StatusOr<ModelFolder> Read(const std::filesystem::path& path) {
  const auto manifest_bytes = ReadFile(path / "manifest.json", kMaxManifestBytes);
  if (!manifest_bytes.ok()) return manifest_bytes.status();
  bool deep = false;  // what walks the manifest later may go down it by calling itself
  const json manifest = json::parse(*manifest_bytes, [&](int depth, json::parse_event_t, json&) {
    deep = deep || depth > kMaxDepth;
    return !deep;
  });
  if (deep) {
    return absl::DataLossError(
        absl::StrCat((path / "manifest.json").string(), ": more than ", kMaxDepth, " levels deep"));
  }
  ModelFolder folder;
  if (absl::Status status = FillFromManifest(manifest, folder); !status.ok()) return status;
  const auto hash = Sha256(*manifest_bytes);
  if (!hash.ok()) return hash.status();
  folder.info.hash = *hash;
  auto module_bytes = ReadListedFile(path, "model.pt", manifest);
  if (!module_bytes.ok()) return module_bytes.status();
  folder.module_bytes = *std::move(module_bytes);
  const auto type = manifest.at("tokenizer").at("type").get<std::string>();
  auto vocabulary = ReadListedFile(path, VocabularyFile(type), manifest);
  if (!vocabulary.ok()) return vocabulary.status();
  folder.vocabulary = *std::move(vocabulary);
  const auto golden_bytes = ReadListedFile(path, "golden.json", manifest);
  if (!golden_bytes.ok()) return golden_bytes.status();
  if (folder.info.task == Task::kRerank) {
    auto pairs = ParsePairs(*golden_bytes);
    if (!pairs.ok()) return pairs.status();
    folder.pairs = *std::move(pairs);
    return folder;
  }
  auto golden = ParseGolden(*golden_bytes, folder.info.dimension);
  if (!golden.ok()) return golden.status();
  folder.golden = *std::move(golden);
  return folder;
}

}  // namespace

absl::StatusOr<std::string> Sha256(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    return absl::InternalError("OpenSSL cannot compute SHA-256");
  }
  return absl::BytesToHexString(std::string(reinterpret_cast<const char*>(digest.data()), size));
}

bool IsModelName(std::string_view name) {
  return !name.empty() && name.size() <= 128 &&
         absl::ascii_isalnum(static_cast<unsigned char>(name.front())) &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

absl::StatusOr<std::vector<std::string>> ListModelFolders(const std::filesystem::path& root) {
  std::error_code error;
  std::vector<std::string> names;
  std::filesystem::directory_iterator entry(root, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::error_code ignored;
    const std::string name = entry->path().filename().string();
    if (IsModelName(name) && std::filesystem::exists(entry->path() / "manifest.json", ignored)) {
      names.push_back(name);
    }
  }
  if (error) {
    const std::string message = absl::StrCat("model root '", root.string(), "': ", error.message());
    return error == std::errc::permission_denied ? absl::PermissionDeniedError(message)
                                                 : absl::NotFoundError(message);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<ModelFolder> ReadModelFolder(const std::filesystem::path& root,
                                            std::string_view name) {
  if (!IsModelName(name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model name '", absl::CHexEscape(std::string(name.substr(0, 128))),
        "': 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit"));
  }
  try {
    absl::StatusOr<ModelFolder> folder = Read(root / name);
    if (folder.ok()) folder->info.name = std::string(name);
    return folder;
  } catch (const json::exception& error) {
    return absl::DataLossError(
        absl::StrCat((root / name).string(), ": manifest.json or golden.json: ", error.what()));
  } catch (const std::exception& error) {  // out of memory
    return absl::ResourceExhaustedError(
        absl::StrCat((root / name).string(), ": cannot be read: ", error.what()));
  }
}

}  // namespace vecino::encoder
