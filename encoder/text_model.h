// A model ready to serve: tokenizer and weights in memory, proven on its golden sentences.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

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
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ExecutorFactory> weights;
};

// Loads the folder `root`/`name` onto `device` ("cpu" or "cuda") and runs its golden sentences.
// Errors: those of ReadModelFolder, MakeWordPieceTokenizer, LoadTorchModel and CheckGolden. Blocks.
absl::StatusOr<TextModel> LoadTextModel(const std::filesystem::path& root, std::string_view name,
                                        const std::string& device);

// Runs every golden sentence alone or in a padded batch, each once.
// DATA_LOSS: ids differ, or a float by more than 1e-4. INTERNAL: the executor failed.
absl::Status CheckGolden(const std::vector<GoldenSentence>& golden, const ModelInfo& info,
                         const Tokenizer& tokenizer, Executor& executor);

}  // namespace vecino::encoder
