// Collections' shards read in at start.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/collection.h"

namespace vecino::engine {

// LoadShard of every shard of `collections`, on `threads` threads at once; 0: one per core. The
// first error, by order of collections and shards. Blocks.
absl::Status LoadShards(const std::vector<std::shared_ptr<Collection>>& collections, int threads);

}  // namespace vecino::engine
