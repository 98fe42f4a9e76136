// What a new collection is stored as.
#pragma once

#include "absl/status/statusor.h"
#include "encoder/encoder.h"
#include "server/engine/types.h"
#include "storage/collection_record.h"

namespace vecino::engine {

// A record with every default filled in, but without uid. INVALID_ARGUMENT naming the field, as
// `collection_id` or `collection.dimension`; NOT_FOUND for a model the server does not have.
absl::StatusOr<storage::CollectionRecord> MakeCollectionRecord(const CollectionSpec& spec,
                                                               const encoder::Encoder& encoder);

}  // namespace vecino::engine
