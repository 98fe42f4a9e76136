// Which model a collection's vectors are made by, and how long they are.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "encoder/encoder.h"

namespace vecino::engine {

struct ModelChoice {
  std::string hash;
  int dimension = 0;
};

// dimension: 0 stands for the model's. NOT_FOUND for a model the server does not have;
// INVALID_ARGUMENT naming `field` for a dimension that its vectors cannot be cut to.
absl::StatusOr<ModelChoice> ChooseModel(const encoder::Encoder& encoder, std::string_view model,
                                        int dimension, std::string_view field);

}  // namespace vecino::engine
