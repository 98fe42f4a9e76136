// Which model a collection's vectors are made by, and how long they are.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "encoder/encoder.h"
#include "server/engine/prompt_names.h"

namespace vecino::engine {

struct ModelChoice {
  encoder::ModelInfo info;
  int dimension = 0;
};

// dimension: 0 stands for the model's. NOT_FOUND for a model the server does not have;
// INVALID_ARGUMENT naming `parent` and the field below it, for a reranker and for a dimension that
// the model's vectors cannot be cut to. parent: with a dot behind it, or empty.
absl::StatusOr<ModelChoice> ChooseModel(const encoder::Encoder& encoder, std::string_view model,
                                        int dimension, std::string_view parent);

// With the default ones filled in. INVALID_ARGUMENT naming `parent` and the field below it,
// `embedding.query_prompt` or `embedding.document_prompt`, for one that the model does not have.
absl::StatusOr<PromptNames> ChoosePrompts(const encoder::ModelInfo& model, PromptNames names,
                                          std::string_view parent);

}  // namespace vecino::engine
