#include "encoder/text_model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "encoder/torch_executor.h"
#include "encoder/wordpiece_tokenizer.h"

namespace vecino::encoder {
namespace {

// Far above what kernels of another machine change (about 1e-6), far below any wrong weight or
// token.
constexpr float kTolerance = 1e-4f;

absl::Status Differs(const GoldenSentence& golden, const std::string& what) {
  return absl::DataLossError(absl::StrCat(
      "golden sentence '", absl::Utf8SafeCEscape(golden.text).substr(0, 60), "': ", what));
}

absl::Status CheckIds(const GoldenSentence& golden, const ModelInfo& info,
                      const Tokenizer& tokenizer) {
  const Tokens tokens = tokenizer.Encode(golden.text, info.max_tokens);
  if (tokens.ids == golden.ids) return absl::OkStatus();
  return Differs(
      golden, absl::StrCat("token ids are [", absl::StrJoin(tokens.ids, " "),
                           "], the manifest's model has [", absl::StrJoin(golden.ids, " "), "]"));
}

absl::Status CheckVectors(std::span<const GoldenSentence> batch, int dimension,
                          Executor& executor) {
  std::vector<std::span<const int32_t>> rows;
  for (const GoldenSentence& golden : batch) rows.emplace_back(golden.ids);
  std::vector<float> vectors(batch.size() * dimension);
  if (absl::Status status = executor.Run(rows, vectors); !status.ok()) return status;
  for (size_t i = 0; i < batch.size(); ++i) {
    float worst = 0;
    for (int j = 0; j < dimension; ++j) {
      const float difference = std::fabs(vectors[i * dimension + j] - batch[i].vector[j]);
      // Not `>`: it must also refuse NaN.
      if (!(difference <= worst)) worst = difference;
    }
    if (!(worst <= kTolerance)) {
      return Differs(batch[i], absl::StrCat("the vector differs by ", worst,
                                            " in one float; the limit is ", kTolerance));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckGolden(const std::vector<GoldenSentence>& golden, const ModelInfo& info,
                         const Tokenizer& tokenizer, Executor& executor) {
  for (const GoldenSentence& sentence : golden) {
    if (absl::Status status = CheckIds(sentence, info, tokenizer); !status.ok()) return status;
  }
  // Batches of 1, 2, 3, ... sentences: the paths with and without a mask both run.
  std::span<const GoldenSentence> rest = golden;
  for (size_t size = 1; !rest.empty(); ++size) {
    const size_t count = std::min(size, rest.size());
    if (absl::Status status = CheckVectors(rest.first(count), info.dimension, executor);
        !status.ok()) {
      return status;
    }
    rest = rest.subspan(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<TextModel> LoadTextModel(const std::filesystem::path& root, std::string_view name,
                                        const std::string& device) {
  absl::StatusOr<ModelFolder> folder = ReadModelFolder(root, name);
  if (!folder.ok()) return folder.status();
  TextModel model;
  model.info = folder->info;
  auto tokenizer = MakeWordPieceTokenizer(folder->vocabulary, folder->tokenizer);
  if (!tokenizer.ok()) return tokenizer.status();
  model.tokenizer = *std::move(tokenizer);
  auto weights = LoadTorchModel(folder->module_bytes, {.dimension = model.info.dimension,
                                                       .max_tokens = model.info.max_tokens,
                                                       .vocab_size = folder->vocab_size,
                                                       .pad_id = model.tokenizer->pad_id(),
                                                       .device = device});
  if (!weights.ok()) return weights.status();
  model.weights = *std::move(weights);
  const std::unique_ptr<Executor> executor = model.weights->MakeExecutor();
  if (absl::Status status = CheckGolden(folder->golden, model.info, *model.tokenizer, *executor);
      !status.ok()) {
    return status;
  }
  return model;
}

}  // namespace vecino::encoder
