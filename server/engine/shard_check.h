// Whether a shard's index has what is stored.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "server/engine/shard.h"
#include "storage/integrity.h"
#include "storage/store.h"

namespace vecino::engine {

// Reads the shard's rows and index files while it goes on serving, and tells what is wrong: stored
// rows that do not fit each other (Store::CheckShard), index files whose checksums are wrong, live
// documents that the index lacks, rows of the index of documents that are not stored. Blocks for as
// long as that takes. An error is that of sink.progress, or NOT_FOUND when the collection was
// deleted.
absl::Status CheckShard(const storage::Store& store, const Shard& shard, uint32_t uid,
                        const storage::IntegritySink& sink);

}  // namespace vecino::engine
