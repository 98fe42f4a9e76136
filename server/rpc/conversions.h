// Between the messages of the contract and the engine's own types. Each function that reads a
// request fails with INVALID_ARGUMENT naming the field, as a path from the request.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/field_mask.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "server/engine/engine.h"
#include "vecino/v1/collection.pb.h"
#include "vecino/v1/document.pb.h"
#include "vecino/v1/embedding_service.pb.h"

namespace vecino::rpc {

// Page sizes: 0 stands for the default, more than the greatest is cut to it.
inline constexpr int kDefaultPageSize = 100;
inline constexpr int kMaxPageSize = 1000;
absl::StatusOr<int> ReadPageSize(int32_t page_size);

// The spec of a new collection; `id` has been checked. Paths start with `collection.`.
absl::StatusOr<engine::CollectionSpec> ReadCollection(std::string_view id,
                                                      const v1::Collection& collection);
engine::PromptNames ReadPrompts(const v1::EmbeddingConfig& embedding);
// model: name without `models/`.
void WriteEmbedding(std::string_view model, const std::string& model_hash,
                    const engine::PromptNames& prompts, v1::EmbeddingConfig* out);
void WriteCollection(const engine::CollectionInfo& info, v1::Collection* out);
v1::Metric WriteMetric(engine::Metric metric);

// Values from whichever form is set. Errors: both forms or neither, bytes that are no multiple of
// 4, a value that is not finite (naming its position), more than 16,384 values.
absl::StatusOr<std::vector<float>> ReadVector(std::string_view field, const v1::Vector& vector);
void WriteVector(std::span<const float> values, v1::Vector* out);

absl::StatusOr<engine::Truncate> ReadTruncate(v1::TruncateMode mode);

absl::StatusOr<engine::WriteMode> ReadWriteMode(v1::WriteMode mode);

// Empty: text and metadata. Paths `text`, `metadata`, `vector`, `passages`, and `id`, which always
// comes.
absl::StatusOr<storage::DocumentParts> ReadMask(const google::protobuf::FieldMask& mask);

// A document to write into `collection`, but for mode and etag. `path` is where it stands in the
// request.
absl::StatusOr<engine::DocumentWrite> ReadDocument(std::string_view path,
                                                   std::string_view collection,
                                                   const v1::Document& document);
// All but its text and its vector.
void WritePassage(int index, const storage::Passage& passage, v1::Passage* out);
// DATA_LOSS when the stored metadata cannot be read.
absl::Status WriteDocument(std::string_view collection, const storage::Document& document,
                           v1::Document* out);

// 1 to 1,000 entries; `what` names them in the message.
absl::Status CheckBatch(std::string_view field, int size, std::string_view what);
absl::StatusOr<std::vector<std::string>> ReadIds(
    const google::protobuf::RepeatedPtrField<std::string>& ids);

// At most 1 MiB. (UTF-8 was checked when the request was parsed.)
absl::Status CheckText(std::string_view field, std::string_view text);

void WriteToken(const engine::WriteToken& token, v1::WriteToken* out);
absl::StatusOr<std::vector<engine::WriteToken>> ReadTokens(
    const google::protobuf::RepeatedPtrField<v1::WriteToken>& tokens);

void WriteModel(const encoder::ModelInfo& info, v1::Model* out);

void WriteDuration(absl::Duration duration, google::protobuf::Duration* out);
void WriteTime(absl::Time time, google::protobuf::Timestamp* out);

}  // namespace vecino::rpc
