// Changing a collection's definition: what Engine::UpdateCollection does.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/collection.h"
#include "server/engine/event_bus.h"
#include "server/engine/migrations.h"
#include "server/engine/types.h"
#include "storage/store.h"

namespace vecino::engine {

// ABORTED, naming the collection, when `etag` is neither empty nor the collection's.
absl::Status CheckEtag(const CollectionInfo& info, std::string_view etag);

// Checks, stores, and has searches and maintenance of both sides of the collection go by it, in
// this order. What is as it is already is neither stored nor told. Called with the lock held that
// is held by whoever creates, deletes or migrates collections (Migrations::Parts::definitions).
// ABORTED (etag), INVALID_ARGUMENT naming the field, the store's errors: nothing has changed then.
// Blocks on the disk.
absl::StatusOr<CollectionInfo> UpdateCollection(const CollectionUpdate& update,
                                                storage::Store* store, Migrations* migrations,
                                                EventBus* events, Collection* collection);

}  // namespace vecino::engine
