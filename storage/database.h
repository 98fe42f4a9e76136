// One open RocksDB with Vecino's column families, and the one door through which it is written.
#pragma once

#include <array>
#include <atomic>
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
#include "storage/write_stop.h"

namespace vecino::storage {

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
  // After an error the batch may still be in the write-ahead log, so writes are refused until it is
  // sure that it can never be replayed (see Recover): at once, with RESOURCE_EXHAUSTED and the room
  // that is needed when a full disk is the cause, else with UNAVAILABLE. RocksDB recovers from a
  // full disk in a thread of its own; nobody waits for it here.
  absl::Status Write(rocksdb::WriteBatch* batch, std::string_view doing);

  // Writes all memory tables to disk, and waits for that, as writes do; refused like Write. After a
  // recovery from a full disk RocksDB 7.8 begins the flush and does not wait.
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
  absl::Status CountOpening(const rocksdb::WriteOptions& options);
  absl::Status KeepMemory(bool may_wait);
  void BeginLog();
  absl::Status FlushAll(bool wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(log_mutex_);
  absl::Status Recover();
  void LeaveWal() ABSL_EXCLUSIVE_LOCKS_REQUIRED(recovery_mutex_);
  // Why writes are refused, and what to do.
  absl::Status Refusal(const WriteStop::State& stop) const;
  // ToStatus for what a write was answered; RESOURCE_EXHAUSTED, naming the folder, while the disk
  // is full, whichever way RocksDB puts it.
  absl::Status WriteStatus(const rocksdb::Status& status, std::string_view doing) const;

  const StoreOptions options_;
  rocksdb::Env* env_ = nullptr;
  std::shared_ptr<WriteStop> stop_;
  std::unique_ptr<rocksdb::DB> db_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilyCount> families_{};
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // all, also unknown ones; owned

  absl::Mutex log_mutex_;                // shared by writes; to begin a log, all of it
  std::atomic<uint64_t> log_bytes_ = 0;  // written since the last log was begun, about

  absl::Mutex recovery_mutex_;
  absl::Time next_leave_ ABSL_GUARDED_BY(recovery_mutex_) = absl::InfinitePast();
};

}  // namespace vecino::storage
