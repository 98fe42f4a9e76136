#include "server/engine/chunking.h"

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/validation.h"
#include "server/passages/text_splitter.h"

namespace vecino::engine {

absl::StatusOr<Chunking> CheckChunking(const Chunking& chunking,
                                       const std::optional<encoder::ModelInfo>& model,
                                       std::string_view document_prompt) {
  if (!model.has_value()) {
    return InvalidField("collection.chunking",
                        "is set, but the collection has no embedding model to make vectors of "
                        "passages; set collection.embedding.model");
  }
  const auto prompt = encoder::FindPrompt(*model, document_prompt);
  if (!prompt.ok()) return prompt.status();
  Chunking full = chunking;
  if (full.max_tokens == 0) full.max_tokens = model->max_tokens;
  const int least = std::max(Limits::kMinChunkTokens, prompt->tokens + Limits::kMinChunkText);
  if (full.max_tokens < least || full.max_tokens > model->max_tokens) {
    return InvalidField(
        "collection.chunking.max_tokens",
        absl::StrCat("is ", full.max_tokens, "; with model `", model->name, "`, of whose tokens ",
                     prompt->tokens, " are its own, it must be ", least, " to ", model->max_tokens,
                     ", which is its window, or 0 to take that"));
  }
  const int most = (full.max_tokens - 1) / 2;
  if (full.overlap_tokens == -1) full.overlap_tokens = std::min(Limits::kDefaultOverlap, most);
  if (full.overlap_tokens < 0 || full.overlap_tokens > most) {
    return InvalidField("collection.chunking.overlap_tokens",
                        absl::StrCat("is ", full.overlap_tokens, "; it must be 0 to ", most,
                                     ", less than half of max_tokens, which is ", full.max_tokens));
  }
  return full;
}

absl::StatusOr<std::vector<storage::Passage>> SplitDocument(
    std::string_view field, std::string_view text, const Chunking& chunking,
    const encoder::Encoder& encoder, std::string_view model, int own_tokens) {
  const int room = chunking.max_tokens - own_tokens;
  const auto ranges =
      passages::SplitText(text,
                          {.max_tokens = room,
                           .overlap_tokens = std::min(chunking.overlap_tokens, (room - 1) / 2),
                           .max_passages = storage::kMaxPassages},
                          [&](std::string_view part) { return encoder.CountTokens(model, part); });
  if (absl::IsInvalidArgument(ranges.status())) {
    return InvalidField(field, std::string(ranges.status().message()));
  }
  if (!ranges.ok()) return ranges.status();
  std::vector<storage::Passage> passages;
  passages.reserve(ranges->size());
  for (const passages::TextRange& range : *ranges) {
    passages.push_back({static_cast<uint32_t>(range.begin), static_cast<uint32_t>(range.end)});
  }
  return passages;
}

absl::Status PrepareVectors(std::string_view field, Metric metric, int dimension, size_t rows,
                            std::vector<float>* vectors) {
  if (rows <= 1) return PrepareVector(field, metric, dimension, vectors);
  const auto d = static_cast<size_t>(dimension);
  if (vectors->size() != rows * d) {
    return absl::InternalError(absl::StrCat(rows, " passages have ", vectors->size(), " floats"));
  }
  std::vector<float> one(d);
  for (size_t row = 0; row < rows; ++row) {
    const auto begin = vectors->begin() + static_cast<std::ptrdiff_t>(row * d);
    one.assign(begin, begin + dimension);
    absl::Status status = PrepareVector(field, metric, dimension, &one);
    if (!status.ok()) return status;
    std::copy(one.begin(), one.end(), begin);
  }
  return absl::OkStatus();
}

std::vector<float> MeanVector(int dimension, std::vector<float> vectors) {
  const auto d = static_cast<size_t>(dimension);
  const size_t rows = vectors.size() / d;
  if (rows <= 1) return vectors;
  std::vector<float> mean(d);
  for (size_t i = 0; i < d; ++i) {
    double sum = 0;
    for (size_t row = 0; row < rows; ++row) sum += vectors[row * d + i];
    mean[i] = static_cast<float>(sum / static_cast<double>(rows));
  }
  return mean;
}

}  // namespace vecino::engine
