// The ShardLog of a store on this machine's disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/snapshot.h"
#include "storage/database.h"
#include "storage/shard_log.h"

namespace vecino::storage {

// What a collection's logs share with the store's catalog.
struct CollectionGate {
  // Held shared while a log writes, exclusively while the collection is dropped: no write can land
  // after its rows were removed.
  absl::Mutex mutex;
  bool dropped ABSL_GUARDED_BY(mutex) = false;

  absl::Mutex shards_mutex;
  std::set<uint16_t> open_shards ABSL_GUARDED_BY(shards_mutex);
};

class LocalSnapshot : public Snapshot {
 public:
  explicit LocalSnapshot(rocksdb::DB* db) : snapshot_(db) {}
  const rocksdb::Snapshot* get() const { return snapshot_.snapshot(); }

 private:
  mutable rocksdb::ManagedSnapshot snapshot_;  // its one getter is not const
};

// Thread safety and errors: as ShardLog says. `database` must outlive it.
class LocalLog : public ShardLog {
 public:
  // max_passages: of a document, at least 1. FAILED_PRECONDITION when the shard's log is open
  // already, DATA_LOSS when its state is damaged.
  static absl::StatusOr<std::unique_ptr<LocalLog>> Open(Database* database,
                                                        std::shared_ptr<CollectionGate> gate,
                                                        uint32_t uid, uint16_t shard,
                                                        uint32_t dimension, size_t max_passages);
  ~LocalLog() override;

  uint64_t LastSequence() const override { return last_sequence_.load(); }
  using ShardLog::Append;
  absl::Status Append(std::span<const Mutation> mutations, std::span<const Mark> marks) override;
  absl::StatusOr<std::vector<Mark>> GetMarks() const override;
  absl::StatusOr<std::vector<std::optional<IdEntry>>> FindIds(
      std::span<const std::string_view> ids) const override;
  absl::StatusOr<std::vector<std::optional<Document>>> GetDocuments(
      std::span<const uint64_t> sequences, const DocumentParts& parts) const override;
  absl::StatusOr<std::vector<std::pair<std::string, IdEntry>>> ListIds(std::string_view after,
                                                                       size_t limit) const override;
  absl::StatusOr<std::vector<std::pair<std::string, IdEntry>>> ListIdsAt(
      const Snapshot& snapshot, std::string_view after, size_t limit) const override;
  absl::StatusOr<std::vector<std::optional<Document>>> GetDocumentsAt(
      const Snapshot& snapshot, std::span<const uint64_t> sequences,
      const DocumentParts& parts) const override;
  absl::Status ScanVectors(uint64_t after, uint64_t up_to, const VectorFn& fn) const override;
  absl::Status ScanDocuments(uint64_t after, uint64_t up_to, const DocumentParts& parts,
                             const DocumentFn& fn) const override;
  absl::Status ReplayChanges(uint64_t after, const ChangeFn& fn) const override;
  absl::StatusOr<std::vector<NamedChange>> ListChanges(uint64_t after, size_t limit) const override;
  absl::Status TrimChanges(uint64_t up_to) override;
  absl::StatusOr<std::string> GetManifest() const override;
  absl::Status PutManifest(std::string_view bytes) override;
  absl::StatusOr<uint64_t> CountIds() const override;
  absl::Status ScanExpiries(const ExpiryFn& fn) const override;

 private:
  LocalLog(Database* database, std::shared_ptr<CollectionGate> gate, uint32_t uid, uint16_t shard,
           uint32_t dimension, size_t max_passages);

  absl::Status LoadLastSequence();
  absl::StatusOr<std::vector<std::optional<IdEntry>>> ReadEntries(
      std::span<const std::string_view> ids) const;
  // at: null for now.
  absl::StatusOr<std::vector<std::pair<std::string, IdEntry>>> ReadIds(const rocksdb::Snapshot* at,
                                                                       std::string_view after,
                                                                       size_t limit) const;
  absl::StatusOr<std::vector<std::optional<Document>>> ReadDocuments(
      const rocksdb::Snapshot* at, std::span<const uint64_t> sequences,
      const DocumentParts& parts) const;
  absl::Status CheckNotDropped() const;
  absl::Status CheckMutation(const Mutation& mutation, uint64_t expected_sequence) const;
  void AddToBatch(const Mutation& mutation, rocksdb::WriteBatch* batch) const;
  // Writes `batch` unless the collection was dropped (NOT_FOUND).
  absl::Status Write(rocksdb::WriteBatch* batch, std::string_view doing);
  std::string Name() const;  // "shard 2 of collection uid 7", for messages

  Database* const database_;
  const std::shared_ptr<CollectionGate> gate_;
  const uint32_t uid_;
  const uint16_t shard_;
  const uint32_t dimension_;
  const size_t max_passages_;
  std::atomic<uint64_t> last_sequence_{0};
  uint64_t trimmed_ = 0;  // changes up to here were trimmed through this object; TrimChanges only
};

}  // namespace vecino::storage
