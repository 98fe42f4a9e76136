// What a new collection is stored as, and what is looked at when one is loaded.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "encoder/encoder.h"
#include "server/engine/registry.h"
#include "server/engine/types.h"
#include "storage/collection_record.h"

namespace vecino::engine {

// A record with every default filled in, but without uid. INVALID_ARGUMENT naming the field, as
// `collection_id` or `collection.dimension`; NOT_FOUND for a model the server does not have.
absl::StatusOr<storage::CollectionRecord> MakeCollectionRecord(const CollectionSpec& spec,
                                                               const encoder::Encoder& encoder);

// ALREADY_EXISTS when a collection or an alias has the id.
absl::Status CheckFree(std::string_view id, const Registry& registry);

// DATA_LOSS for a record that no collection can have.
absl::Status CheckRecord(const storage::CollectionRecord& record);

// Writes a line to the log where the server does not have the model of a collection, as it was.
void WarnOfModel(const CollectionInfo& info, const encoder::Encoder& encoder);

}  // namespace vecino::engine
