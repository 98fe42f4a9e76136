#include "server/engine/new_collection.h"

#include <optional>

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
  if (!spec.model.empty()) {
    auto found = ChooseModel(encoder, spec.model, dimension, "collection.");
    if (!found.ok()) return found.status();
    model = found->info;
    dimension = found->dimension;
    record.model = spec.model;
    record.model_hash = model->hash;
  }
  if (dimension < 1 || dimension > Limits::kMaxDimension) {
    return InvalidField("collection.dimension",
                        absl::StrCat("is ", dimension, ", must be 1 to ", Limits::kMaxDimension,
                                     ", or 0 with an embedding model"));
  }
  record.dimension = static_cast<uint32_t>(dimension);
  if (spec.chunking.has_value()) {
    auto chunking = CheckChunking(*spec.chunking, model);
    if (!chunking.ok()) return chunking.status();
    record.chunk_tokens = static_cast<uint32_t>(chunking->max_tokens);
    record.chunk_overlap = static_cast<uint32_t>(chunking->overlap_tokens);
  }
  if (absl::Status status = CheckIndexSpec(spec.index, dimension); !status.ok()) return status;
  record.index = ToStored(spec.index);
  return record;
}

}  // namespace vecino::engine
