// A model ready to serve: tokenizer and weights in memory, proven on its golden sentences.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "encoder/encoder.h"
#include "encoder/executor.h"
#include "encoder/model_folder.h"
#include "encoder/tokenizer.h"

namespace vecino::encoder {

// Immutable after loading.
struct TextModel {
  ModelInfo info;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<ExecutorFactory> weights;
  bool on_cpu = true;
  std::string runs_by;  // for the log: "TorchScript on cpu", "packed batches on cuda: bf16"

  // Floats that an executor gives for a row.
  int outputs() const { return info.task == Task::kRerank ? 1 : info.dimension; }
};

// Loads the folder `root`/`name` and runs its golden sentences or pairs: first the model as it is
// named, in fp32, then those called NAME@bf16 and, where the fused executor runs it, NAME@int8; by
// TorchScript on CPU bf16 only where the CPU has it; with "cuda" int8 stays on the CPU, and what
// packed batches cannot run is TorchScript's. One of these two that cannot be made, or whose golden
// sentences or pairs are too far off, is left out, and `warn` told why. device: "cpu" or "cuda".
// executor: see EncoderOptions. Errors: those of ReadModelFolder, ReadTokenizer, LoadTorchModel,
// ReadBertWeights (only for "fused"), MakeFusedModel, MakePackedTorchModel and CheckGolden. Blocks.
absl::StatusOr<std::vector<TextModel>> LoadTextModels(
    const std::filesystem::path& root, std::string_view name, const std::string& device,
    const std::string& executor, absl::FunctionRef<void(std::string_view)> warn);

// Runs every golden sentence alone or in a padded batch, each once.
// DATA_LOSS: ids differ; or of an fp32 model a float by more than 1e-4; or the cosine of a vector
// is below .999 (bf16) or .99 (int8). INTERNAL: the executor failed.
absl::Status CheckGolden(const std::vector<GoldenSentence>& golden, const ModelInfo& info,
                         const Tokenizer& tokenizer, Executor& executor);

// The same of a reranker's golden pairs. DATA_LOSS: ids or token types differ; or of an fp32 model
// a logit by more than 1e-4 (of it, where it is above 1); or the correlation of all logits with the
// golden ones is below .999 (bf16) or .99 (int8). INTERNAL: the executor failed.
absl::Status CheckGoldenPairs(const std::vector<GoldenPair>& golden, int token_types,
                              const ModelInfo& info, const Tokenizer& tokenizer,
                              Executor& executor);

}  // namespace vecino::encoder
