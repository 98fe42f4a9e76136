// One open RocksDB with Vecino's column families, and the one door through which it is written.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "storage/keys.h"
#include "storage/store.h"

namespace vecino::storage {

// Counts RocksDB's background errors and failed writes; told by RocksDB from its own threads.
class ErrorListener;

// Thread safety: all methods are safe from any thread.
class Database {
 public:
  static constexpr size_t kReadaheadBytes =
      2u << 20;  // of scans; past this, reads are disk-bound anyway

  // See Store::Open. `env`: null for the machine's; tests pass one whose disk fails.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const StoreOptions& options,
                                                        rocksdb::Env* env);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // For reads. Writes go through Write.
  rocksdb::DB& db() const { return *db_; }
  rocksdb::ColumnFamilyHandle* family(Family family) const {
    return families_[static_cast<size_t>(family)];
  }

  // Writes `batch` atomically and syncs it; concurrent calls share one sync. `doing`: for messages.
  //
  // After an error the batch may still be in the write-ahead log, so the next Write first makes
  // sure that it can never be replayed (see Recover); while that fails, all writes are refused:
  // with RESOURCE_EXHAUSTED when a full disk is the cause, else with UNAVAILABLE.
  absl::Status Write(rocksdb::WriteBatch* batch, std::string_view doing);

  // Writes all memory tables to disk.
  absl::Status Flush();

  // The value at `key`, read at `snapshot` (null: now); NOT_FOUND when there is none.
  absl::StatusOr<std::string> Get(Family family, std::string_view key,
                                  const rocksdb::Snapshot* snapshot = nullptr) const;

  // Like Get, for a value made by EncodeNumber; 0 when there is none.
  absl::StatusOr<uint64_t> GetNumber(Family family, std::string_view key,
                                     const rocksdb::Snapshot* snapshot = nullptr) const;

  // Calls `fn` with every row of `family` with lower <= key < upper in order, from one snapshot
  // (null: of this moment), past the block cache, until `fn` returns an error, which is passed on.
  using RowFn = std::function<absl::Status(std::string_view key, std::string_view value)>;
  absl::Status Scan(Family family, std::string_view lower, std::string_view upper, const RowFn& fn,
                    const rocksdb::Snapshot* snapshot = nullptr) const;

  // Passes a message on to StoreOptions::warn.
  void Warn(std::string_view message) const;

 private:
  explicit Database(const StoreOptions& options);

  absl::Status OpenFamilies(rocksdb::Env* env);
  absl::Status CheckOrWriteFormat(bool created);
  absl::Status CountOpening() ABSL_EXCLUSIVE_LOCKS_REQUIRED(recovery_mutex_);
  absl::Status Recover();
  uint64_t CurrentWal() const;
  // ToStatus for what a write was answered; RESOURCE_EXHAUSTED, naming the folder, while the disk
  // is full, whichever way RocksDB puts it.
  absl::Status WriteStatus(const rocksdb::Status& status, std::string_view doing) const;

  const StoreOptions options_;
  std::shared_ptr<ErrorListener> errors_;
  std::unique_ptr<rocksdb::DB> db_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilyCount> families_{};
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // all, also unknown ones; owned

  absl::Mutex recovery_mutex_;
  absl::Time next_recovery_ ABSL_GUARDED_BY(recovery_mutex_) = absl::InfinitePast();
  absl::Status last_recovery_ ABSL_GUARDED_BY(recovery_mutex_);
  uint64_t seen_write_errors_ ABSL_GUARDED_BY(recovery_mutex_) = 0;
  uint64_t suspect_wal_ ABSL_GUARDED_BY(recovery_mutex_) =
      0;  // may hold a failed write; 0 for none
};

}  // namespace vecino::storage
