#include "server/engine/new_collection.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/chunking.h"
#include "server/engine/model_choice.h"
#include "server/engine/stored_spec.h"
#include "server/engine/validation.h"

namespace vecino::engine {

absl::StatusOr<storage::CollectionRecord> MakeCollectionRecord(const CollectionSpec& spec,
                                                               const encoder::Encoder& encoder) {
  if (absl::Status status = CheckCollectionId("collection_id", spec.id); !status.ok()) {
    return status;
  }
  if (spec.shard_count < 1 || spec.shard_count > Limits::kMaxShards) {
    return InvalidField(
        "collection.shard_count",
        absl::StrCat("is ", spec.shard_count, ", must be 1 to ", Limits::kMaxShards));
  }
  storage::CollectionRecord record;
  record.id = spec.id;
  record.shard_count = static_cast<uint32_t>(spec.shard_count);
  record.metric = ToStored(spec.metric);
  record.create_time_us = absl::ToUnixMicros(absl::Now());
  int dimension = spec.dimension;
  std::optional<encoder::ModelInfo> model;
  PromptNames prompts;
  if (!spec.model.empty()) {
    auto found = ChooseModel(encoder, spec.model, dimension, "collection.");
    if (!found.ok()) return found.status();
    model = found->info;
    dimension = found->dimension;
    record.model = spec.model;
    record.model_hash = model->hash;
    auto chosen = ChoosePrompts(*model, spec.prompts, "collection.");
    if (!chosen.ok()) return chosen.status();
    prompts = *std::move(chosen);
    StorePrompts(prompts, &record);
  } else if (!spec.prompts.query.empty() || !spec.prompts.document.empty()) {
    return InvalidField(spec.prompts.query.empty() ? "collection.embedding.document_prompt"
                                                   : "collection.embedding.query_prompt",
                        "is set, but the collection has no embedding model, whose prompts it could "
                        "name; set collection.embedding.model");
  }
  if (dimension < 1 || dimension > Limits::kMaxDimension) {
    return InvalidField("collection.dimension",
                        absl::StrCat("is ", dimension, ", must be 1 to ", Limits::kMaxDimension,
                                     ", or 0 with an embedding model"));
  }
  record.dimension = static_cast<uint32_t>(dimension);
  if (spec.chunking.has_value()) {
    auto chunking = CheckChunking(*spec.chunking, model, prompts.document);
    if (!chunking.ok()) return chunking.status();
    record.chunk_tokens = static_cast<uint32_t>(chunking->max_tokens);
    record.chunk_overlap = static_cast<uint32_t>(chunking->overlap_tokens);
  }
  if (absl::Status status = CheckIndexSpec(spec.index, dimension); !status.ok()) return status;
  record.index = ToStored(spec.index);
  return record;
}

absl::Status CheckFree(std::string_view id, const Registry& registry) {
  const absl::string_view name(id.data(), id.size());
  if (registry.FindExact(id).ok()) {
    return absl::AlreadyExistsError(absl::StrCat("collection `", name, "` exists already"));
  }
  if (const auto target = registry.AliasTarget(id); target.has_value()) {
    return absl::AlreadyExistsError(absl::StrCat("`", name, "` is an alias of collection `",
                                                 *target,
                                                 "`; take another id or delete the alias first"));
  }
  return absl::OkStatus();
}

absl::Status CheckRecord(const storage::CollectionRecord& record) {
  if (record.shard_count >= 1 && record.shard_count <= Limits::kMaxShards &&
      record.dimension >= 1 && record.dimension <= Limits::kMaxDimension) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("the record of collection `", record.id, "` has ",
                                          record.shard_count, " shards and dimension ",
                                          record.dimension, ", which cannot be"));
}

void WarnOfModel(const CollectionInfo& info, const encoder::Encoder& encoder) {
  if (info.spec.model.empty()) return;
  const auto model = encoder.Model(info.spec.model);
  if (model.ok() && model->hash == info.model_hash) return;
  spdlog::warn(
      "collection {} was made with model {} ({}), which the server does not have; its vectors are "
      "served, texts are refused",
      info.spec.id, info.spec.model, info.model_hash);
}

}  // namespace vecino::engine
