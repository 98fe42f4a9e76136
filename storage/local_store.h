// The store on this machine's disk. For store*.cc only.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/write_batch.h"
#include "storage/database.h"
#include "storage/local_log.h"
#include "storage/store.h"

namespace vecino::storage {

inline constexpr uint32_t kMaxShards = std::numeric_limits<uint16_t>::max();

// Thread safety and errors: as Store says.
class LocalStore : public Store {
 public:
  explicit LocalStore(std::unique_ptr<Database> database) : database_(std::move(database)) {}

  // Reads the catalog and finishes what a crash left undone.
  absl::Status Load();

  absl::StatusOr<uint32_t> AddCollection(CollectionRecord record) override;
  absl::Status PutIndex(uint32_t uid, const StoredIndex& index) override;
  absl::StatusOr<std::vector<CollectionRecord>> ListCollections() const override;
  absl::Status DropCollection(uint32_t uid) override;
  absl::StatusOr<std::unique_ptr<ShardLog>> OpenShard(uint32_t uid, uint32_t shard,
                                                      uint32_t dimension) override;
  absl::StatusOr<uint32_t> AddMigration(MigrationRecord record, std::string_view manifest) override;
  absl::StatusOr<std::vector<MigrationRecord>> ListMigrations() const override;
  absl::Status PutMigration(uint32_t uid, std::string_view bytes) override;
  absl::Status SwitchMigration(uint32_t uid, std::string_view bytes, std::string_view follower,
                               std::span<const uint64_t> through) override;
  absl::Status EndMigration(uint32_t uid) override;
  absl::Status PutAlias(const AliasRecord& record) override;
  absl::Status DeleteAlias(std::string_view id) override;
  absl::StatusOr<std::vector<AliasRecord>> ListAliases() const override;
  absl::Status PutOperation(const OperationRecord& record) override;
  absl::Status DeleteOperation(uint32_t uid, uint64_t number) override;
  absl::StatusOr<std::vector<OperationRecord>> ListOperations() const override;
  std::unique_ptr<Snapshot> TakeSnapshot() const override {
    return std::make_unique<LocalSnapshot>(&database_->db());
  }
  absl::StatusOr<SnapshotManifest> WriteSnapshot(const std::string& folder,
                                                 std::span<const std::string> ids,
                                                 std::string_view server_version,
                                                 const SnapshotProgressFn& progress) override;
  absl::StatusOr<std::vector<CollectionRecord>> RestoreSnapshot(
      const std::string& folder, const SnapshotManifest& manifest,
      std::span<const RestoreTarget> targets, const ShardManifestFn& shard_manifest,
      const SnapshotProgressFn& progress) override;
  absl::Status CheckFiles(const IntegritySink& sink) const override;
  absl::Status CheckShard(uint32_t uid, uint32_t shard, const IntegritySink& sink) const override;
  absl::Status DropMark(uint32_t uid, std::string_view token) override;
  absl::Status Flush() override { return database_->Flush(); }

 private:
  struct Collection {
    CollectionRecord record;
    std::shared_ptr<CollectionGate> gate = std::make_shared<CollectionGate>();
    MigrationRecord migration;  // last_range 0: never one
    std::shared_ptr<CollectionGate> other_gate = std::make_shared<CollectionGate>();
  };

  absl::Status LoadCollections() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status LoadAliases() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status LoadMigrations() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasCollection(uint32_t uid) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // By the uid that callers see. NOT_FOUND.
  absl::StatusOr<Collection*> Find(uint32_t uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same, with a hidden side.
  absl::StatusOr<Collection*> FindMigrating(uint32_t uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds to the batch that aliases, operations and marks of `from` are those of `to`.
  absl::Status MoveRows(uint32_t from, uint32_t to, uint32_t shard_count, std::string_view follower,
                        rocksdb::WriteBatch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The record of a side, hidden ones too; nullopt: there is none.
  std::optional<CollectionRecord> FindSide(uint32_t uid) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // ALREADY_EXISTS when a collection or an alias has the id.
  absl::Status CheckIdFree(const std::string& id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Gives a uid to each, durably marked as one whose rows are to be removed.
  absl::StatusOr<std::vector<CollectionRecord>> BeginRestore(const SnapshotManifest& manifest,
                                                             std::span<const RestoreTarget> targets)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // What was restored becomes collections, in one batch. batch: holds their
  // shards' manifests.
  absl::Status EndRestore(const SnapshotManifest& manifest, std::span<const RestoreTarget> targets,
                          std::span<const CollectionRecord> records, rocksdb::WriteBatch* batch)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<uint32_t>> FindDropping() const;
  absl::Status RemoveRows(uint32_t uid);
  // Removes the rows of what is gone already. Where that fails it is tried again with the next one,
  // by RetryRemovals, and at the next start.
  void RemoveDropped(uint32_t uid) ABSL_LOCKS_EXCLUDED(mutex_);
  void RetryRemovals() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::unique_ptr<Database> database_;

  // Held while the catalog is written; appends do not take it.
  mutable absl::Mutex mutex_;
  std::map<std::string, Collection> collections_ ABSL_GUARDED_BY(mutex_);  // by id
  std::map<std::string, AliasRecord> aliases_ ABSL_GUARDED_BY(mutex_);     // by id
  uint32_t next_uid_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<uint32_t> unremoved_ ABSL_GUARDED_BY(mutex_);  // whose RemoveRows failed
};

}  // namespace vecino::storage
