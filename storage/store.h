// The durable truth of a server: one RocksDB with the catalog of collections and their shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/collection_record.h"
#include "storage/shard_log.h"

namespace vecino::storage {

struct StoreOptions {
  std::string path;                       // folder; made when missing
  size_t block_cache_bytes = 256u << 20;  // shared by all column families
  size_t write_buffer_bytes = 64u << 20;  // per column family
  int background_threads = 2;             // compactions and flushes
  bool sync_writes = true;                // false only in tests and benchmarks
  std::function<void(std::string_view)>
      warn;  // called with what opening repaired or found odd; may be null
};

// Thread safety: all methods are safe from any thread. All may block on disk.
class Store {
 public:
  // Opens or creates the store; replays the write-ahead log. FAILED_PRECONDITION when another
  // process holds it or when its format version is newer than this program's, DATA_LOSS naming the
  // file when it is damaged, RESOURCE_EXHAUSTED when the disk is full.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options);

  virtual ~Store() = default;

  // Adds `record` with a fresh uid and returns that uid. ALREADY_EXISTS when the id is taken.
  // Durable on return.
  virtual absl::StatusOr<uint32_t> AddCollection(CollectionRecord record) = 0;

  // All collections in order of id.
  virtual absl::StatusOr<std::vector<CollectionRecord>> ListCollections() const = 0;

  // Removes the collection and everything stored in it. Atomic and durable on return: after a crash
  // either all of it is there or none. NOT_FOUND when there is no such uid.
  virtual absl::Status DropCollection(uint32_t uid) = 0;

  // The log of one shard. The store must outlive it. One object per shard may exist at a time.
  virtual absl::StatusOr<std::unique_ptr<ShardLog>> OpenShard(uint32_t uid, uint32_t shard,
                                                              uint32_t dimension) = 0;

  // Flushes memory to disk; for a quick start next time. Called at a graceful stop.
  virtual absl::Status Flush() = 0;
};

}  // namespace vecino::storage
