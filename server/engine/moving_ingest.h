// Streams of writes that stay open while a collection's embeddings are switched.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/engine/collection.h"
#include "server/engine/ingest.h"

namespace vecino::engine {

// The collection of one id as it is now. NOT_FOUND.
using FindCollectionFn = std::function<absl::StatusOr<std::shared_ptr<Collection>>()>;

// Collection::OpenIngest, on whichever side callers see. What was prepared for one side and is
// committed on the other is prepared again: no vector of the one model reaches the other's index.
// Errors as of Engine::OpenIngest; those of WriteGate::Enter besides.
absl::StatusOr<std::unique_ptr<IngestStream>> OpenMovingIngest(FindCollectionFn find,
                                                               std::string_view token,
                                                               Truncate truncate);

}  // namespace vecino::engine
