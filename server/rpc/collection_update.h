// What UpdateCollection is asked to change.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/field_mask.pb.h"
#include "server/engine/engine.h"
#include "vecino/v1/collection_service.pb.h"

namespace vecino::rpc {

// INVALID_ARGUMENT naming `update_mask` for a path that is none of Collection's, and for `*` beside
// others.
absl::Status CheckCollectionMask(const google::protobuf::FieldMask& mask);

// The fields that the mask, which has been checked, and the collection of the request mean, but for
// its id. now: the collection as it is. INVALID_ARGUMENT, from `collection` on, naming a field that
// cannot be changed and would be. Ranges are the engine's to check. Pure functions.
absl::StatusOr<engine::CollectionUpdate> ReadCollectionUpdate(
    const v1::UpdateCollectionRequest& request, const engine::CollectionInfo& now);

}  // namespace vecino::rpc
