// Documents of chunked collections: how they are split, and the vectors of their passages.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "encoder/encoder.h"
#include "server/engine/types.h"
#include "storage/document.h"

namespace vecino::engine {

// What is not said filled in. model: none where the collection has none. document_prompt: name of
// one of its prompts. INVALID_ARGUMENT naming `collection.chunking` or a field of it.
absl::StatusOr<Chunking> CheckChunking(const Chunking& chunking,
                                       const std::optional<encoder::ModelInfo>& model,
                                       std::string_view document_prompt);

// The passages of a text that is not empty, one at least. chunking: as CheckChunking returned it.
// own_tokens: that a passage has beside its text's, encoder::Prompt::tokens.
// INVALID_ARGUMENT naming `field` when there would be more than storage::kMaxPassages. Blocks for
// as long as counting the text's tokens twice takes.
absl::StatusOr<std::vector<storage::Passage>> SplitDocument(std::string_view field,
                                                            std::string_view text,
                                                            const Chunking& chunking,
                                                            const encoder::Encoder& encoder,
                                                            std::string_view model, int own_tokens);

// PrepareVector for each of `rows` vectors, 1 or more, row-major. Of several an error names none:
// they are the model's.
absl::Status PrepareVectors(std::string_view field, Metric metric, int dimension, size_t rows,
                            std::vector<float>* vectors);

// The mean of one vector or more, row-major, `dimension` floats each; empty of none. Not of
// length 1.
std::vector<float> MeanVector(int dimension, std::vector<float> vectors);

}  // namespace vecino::engine
