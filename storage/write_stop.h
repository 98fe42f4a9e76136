// What RocksDB says of the errors that stop its writes, and when it may try to recover from them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "rocksdb/sst_file_manager.h"

namespace vecino::storage {

// An error of RocksDB's "hard" kind stops its writes. There are two: the disk is full, and then
// RocksDB itself goes on once there is room (see MakeRecoveringFileManager); all others are fatal,
// and only opening the store anew helps.
//
// Thread safety: all methods are safe from any thread. RocksDB calls the listener's from its own
// threads and those that write, without its lock. None blocks for longer than RocksDB holds that.
class WriteStop : public rocksdb::EventListener {
 public:
  static constexpr uint64_t kUnknownWal = UINT64_MAX;

  struct State {
    bool stopped = false;         // there are errors that Settle has not been told of
    uint64_t number = 0;          // of the last of them
    rocksdb::Status error;        // the worst
    bool recovered = false;       // RocksDB has recovered, and takes writes
    absl::Time recovered_at;      // when it did
    uint64_t suspect_wal = 0;     // the last log that may hold a failed write; 0: none does
    uint64_t bytes_to_flush = 0;  // what a recovery has to write, at most
  };

  explicit WriteStop(std::function<void(std::string_view)> warn) : warn_(std::move(warn)) {}

  // Needed to look at what an error leaves behind. Null before the database is closed.
  void Attach(rocksdb::DB* db) { db_.store(db); }

  bool stopped() const { return stops_.load() != settled_.load(); }
  State state() const;
  // True while RocksDB knows that the disk is full, also where that does not stop writes yet.
  bool disk_full() const { return full_.load(); }
  // Writes may go on after the error `number` and those before it.
  void Settle(uint64_t number);

  // What RocksDB's recovery is to be told of a disk that has `free` bytes: all where it is to try
  // (as its own measure, a whole write buffer, may be far too much or too little), nothing where it
  // is not to.
  uint64_t RoomFor(uint64_t free) const;

  // Of what a recovery needs beside the memory tables: a log, a manifest, the ends of tables.
  static constexpr uint64_t kMargin = 2u << 20;

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override;
  void OnErrorRecoveryEnd(const rocksdb::BackgroundErrorRecoveryInfo& info) override;

 private:
  const std::function<void(std::string_view)> warn_;
  std::atomic<rocksdb::DB*> db_{nullptr};
  std::atomic<uint64_t> stops_{0};    // errors that stopped writes; changed under mutex_
  std::atomic<uint64_t> settled_{0};  // stops_ that Settle was told of
  std::atomic<bool> full_{false};

  // Never held while RocksDB is called, as RocksDB calls RoomFor with its lock held.
  mutable absl::Mutex mutex_;
  rocksdb::Status error_ ABSL_GUARDED_BY(mutex_);
  bool recovered_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time stopped_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // last
  absl::Time recovered_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  uint64_t suspect_wal_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t bytes_to_flush_ ABSL_GUARDED_BY(mutex_) = 0;
};

// The part of RocksDB that looks about once a second whether there is room again after a full disk
// and then recovers, in a thread of its own; it asks stop->RoomFor. `env`: the database's.
//
// Recovery is left to it, and DB::Resume is never called, because RocksDB 7.8 loses a flush that
// begins while writes are stopped and no recovery is under way: DBImpl::BackgroundFlush then gives
// up its turn (unscheduled_flushes_ was counted down) and leaves the column family in flush_queue_.
// A family that stands there is never scheduled again, so the next Resume waits in
// WaitForFlushMemTables for a flush that nobody does, for ever. Resume makes such flushes itself:
// where one fails, it returns with another just scheduled and marks its recovery as over. The
// recovery of the file manager is "under way" from the moment of the error until it has succeeded,
// both changed under RocksDB's lock together with the error itself, so a flush runs, or fails, and
// is scheduled anew by the next try: none gives up its turn, and every wait is for a flush that
// somebody does.
std::shared_ptr<rocksdb::SstFileManager> MakeRecoveringFileManager(
    rocksdb::Env* env, std::shared_ptr<const WriteStop> stop);

}  // namespace vecino::storage
