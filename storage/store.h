// The durable truth of a server: one RocksDB with the catalog of collections and their shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/alias_record.h"
#include "storage/collection_record.h"
#include "storage/integrity.h"
#include "storage/migration_record.h"
#include "storage/shard_log.h"
#include "storage/snapshot.h"
#include "storage/snapshot_folder.h"
#include "storage/snapshot_manifest.h"

namespace vecino::storage {

struct StoreOptions {
  std::string path;                       // folder; made when missing
  size_t block_cache_bytes = 256u << 20;  // shared by all column families
  size_t write_buffer_bytes = 64u << 20;  // per column family
  int background_threads = 2;             // compactions and flushes
  bool sync_writes = true;                // false only in tests and benchmarks
  // Called with one line for the log: what opening repaired or found odd, and later when the disk
  // fails or recovers. From any thread, also from inside calls of the store, so it must not call
  // back. May be null.
  std::function<void(std::string_view)> warn;
};

// A long-running job of a collection, as the engine wrote it.
struct OperationRecord {
  uint32_t uid = 0;     // of the collection
  uint64_t number = 0;  // the engine's, unique in the store
  std::string bytes;
};

// What a snapshot is restored as.
struct RestoreTarget {
  uint32_t uid = 0;  // of a collection in the snapshot's manifest
  std::string id;    // of the collection that it becomes
};

// Thread safety: all methods are safe from any thread. All may block on disk. What a write that
// failed with UNAVAILABLE or RESOURCE_EXHAUSTED leaves behind is said at ShardLog::Append.
class Store {
 public:
  // Opens or creates the store; replays the write-ahead log. FAILED_PRECONDITION when another
  // process holds it, when its format version is newer than this program's or when the folder holds
  // some other database; DATA_LOSS naming the file when it is damaged; RESOURCE_EXHAUSTED when the
  // disk is full; UNAVAILABLE when the folder cannot be made or read.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options);

  virtual ~Store() = default;

  // Adds `record` with a fresh uid (its own is not looked at) and returns that uid. Durable on
  // return. ALREADY_EXISTS when a collection or an alias has the id, INVALID_ARGUMENT for an empty
  // id, no dimension, or a shard count outside 1 to 65,535.
  virtual absl::StatusOr<uint32_t> AddCollection(CollectionRecord record) = 0;

  // Replaces how the collection is indexed, and its hidden side with it. Atomic and durable on
  // return: after a crash both have what they had, or both this. NOT_FOUND when there is no such
  // uid, or it is a hidden side's.
  virtual absl::Status PutIndex(uint32_t uid, const StoredIndex& index) = 0;

  // All collections in order of id.
  virtual absl::StatusOr<std::vector<CollectionRecord>> ListCollections() const = 0;

  // Removes the collection and everything stored in it, its hidden side too. Atomic and durable on
  // return: after a crash either all of it is there or none. Logs of its shards that are still open
  // refuse writes from then on (NOT_FOUND) and find nothing. NOT_FOUND when there is no such uid,
  // FAILED_PRECONDITION when an alias points to it.
  virtual absl::Status DropCollection(uint32_t uid) = 0;

  // Gives the collection record.uid a hidden side, record.other, with a fresh uid, which is
  // returned. Its shards are empty, their first write has the number after FirstOfRange of
  // record.last_range, and each has `manifest`. Atomic and durable on return. NOT_FOUND when there
  // is no such collection; FAILED_PRECONDITION when it has a hidden side; INVALID_ARGUMENT when id
  // or shards are not the collection's, for no dimension, and for a range that was given out, or is
  // over kMaxRange.
  virtual absl::StatusOr<uint32_t> AddMigration(MigrationRecord record,
                                                std::string_view manifest) = 0;
  // By uid; those that have ended, too.
  virtual absl::StatusOr<std::vector<MigrationRecord>> ListMigrations() const = 0;
  // Replaces the engine's bytes. Durable on return. NOT_FOUND when the collection has no hidden
  // side.
  virtual absl::Status PutMigration(uint32_t uid, std::string_view bytes) = 0;
  // The hidden side becomes the collection, and the collection of this uid the hidden side, with
  // its aliases and operations, and its marks but for `follower`, which take the place of those
  // there were. The side that is hidden then gets for each shard a mark `follower` through
  // through[shard]. bytes: the engine's. Atomic and durable on return. NOT_FOUND as PutMigration.
  virtual absl::Status SwitchMigration(uint32_t uid, std::string_view bytes,
                                       std::string_view follower,
                                       std::span<const uint64_t> through) = 0;
  // Removes the hidden side with all that is stored in it; atomic and durable as DropCollection.
  // OK when there is none; NOT_FOUND when there is no such collection.
  virtual absl::Status EndMigration(uint32_t uid) = 0;

  // Adds the alias or replaces the one of that id. Durable on return. NOT_FOUND when there is no
  // collection of that uid, ALREADY_EXISTS when a collection has the id, INVALID_ARGUMENT for an
  // empty one.
  virtual absl::Status PutAlias(const AliasRecord& record) = 0;
  // NOT_FOUND when there is none.
  virtual absl::Status DeleteAlias(std::string_view id) = 0;
  // All aliases in order of id.
  virtual absl::StatusOr<std::vector<AliasRecord>> ListAliases() const = 0;

  // Adds or replaces the record with that uid and number. Durable on return. They go with their
  // collection. NOT_FOUND when there is no collection of that uid.
  virtual absl::Status PutOperation(const OperationRecord& record) = 0;
  // OK also when there is none.
  virtual absl::Status DeleteOperation(uint32_t uid, uint64_t number) = 0;
  // All records, by uid, then number.
  virtual absl::StatusOr<std::vector<OperationRecord>> ListOperations() const = 0;

  // The whole store as it is now, for ShardLog's methods that end in At. The store must outlive it.
  virtual std::unique_ptr<Snapshot> TakeSnapshot() const = 0;

  // Writes the rows of the collections `ids` (empty: of all) as they are at one moment, this one,
  // into files in `folder`, which must be empty; syncs them; and returns what SnapshotFolder::
  // Publish takes. Writes and reads go on; a collection's hidden side is left out. `progress`: rows
  // copied and bytes read back. NOT_FOUND for an unknown id, and when a collection was deleted, or
  // went over to other embeddings that were finished, before all of it was copied;
  // RESOURCE_EXHAUSTED when the disk is full; DATA_LOSS naming what is damaged. On an error the
  // folder's files are of no use.
  virtual absl::StatusOr<SnapshotManifest> WriteSnapshot(const std::string& folder,
                                                         std::span<const std::string> ids,
                                                         std::string_view server_version,
                                                         const SnapshotProgressFn& progress) = 0;

  // The manifest of a shard with rows up to `last`, none of which is in an index file.
  using ShardManifestFn = std::function<std::string(const CollectionRecord& record, uint64_t last)>;
  // Makes collections of what WriteSnapshot wrote into `folder`, whose files are taken to be as
  // `manifest` says (SnapshotFolder::CheckFile), and returns their records, in order of `targets`.
  // They are there all at once, durably, on return; before that, and after an error or a crash,
  // nothing of them is. ALREADY_EXISTS when a collection or an alias has an id; INVALID_ARGUMENT
  // for an empty id, two of the same, or a uid that the snapshot has not; DATA_LOSS naming the
  // file; RESOURCE_EXHAUSTED; what `progress` says.
  virtual absl::StatusOr<std::vector<CollectionRecord>> RestoreSnapshot(
      const std::string& folder, const SnapshotManifest& manifest,
      std::span<const RestoreTarget> targets, const ShardManifestFn& shard_manifest,
      const SnapshotProgressFn& progress) = 0;

  // Reads every table file and every closed part of the write-ahead log, and compares checksums.
  // What is wrong goes to `sink`, also what cannot be read; an error is that of sink.progress.
  virtual absl::Status CheckFiles(const IntegritySink& sink) const = 0;
  // Reads all rows of a shard as they are at one moment, and compares them with each other.
  // NOT_FOUND for an unknown uid, and when the collection was deleted meanwhile.
  virtual absl::Status CheckShard(uint32_t uid, uint32_t shard,
                                  const IntegritySink& sink) const = 0;

  // The log of one shard. The store must outlive it. FAILED_PRECONDITION while another object for
  // the shard exists, NOT_FOUND for an unknown uid, INVALID_ARGUMENT when shard or dimension are
  // not the collection's, DATA_LOSS when the shard's rows and its last sequence number do not
  // agree.
  virtual absl::StatusOr<std::unique_ptr<ShardLog>> OpenShard(uint32_t uid, uint32_t shard,
                                                              uint32_t dimension) = 0;

  // Forgets the marks with this token in all shards of the collection, atomically and durably. OK
  // where there are none. NOT_FOUND when there is no such uid.
  virtual absl::Status DropMark(uint32_t uid, std::string_view token) = 0;

  // Flushes memory to disk; for a quick start next time. Called at a graceful stop.
  virtual absl::Status Flush() = 0;
};

}  // namespace vecino::storage
