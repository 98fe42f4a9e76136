#include "storage/write_stop.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rocksdb/file_system.h"
#include "rocksdb/system_clock.h"
#include "rocksdb/transaction_log.h"

namespace vecino::storage {
namespace {

// A recovery begins a new log and small tables. Where there is room for these and not for the
// writes to come, recoveries must not follow each other without a pause.
constexpr absl::Duration kPause = absl::Milliseconds(800);

// RocksDB's manager looks again "five seconds from now", which is long for who has just freed
// space. With a clock that is four seconds behind it looks after one. It uses its clock for nothing
// else, as it deletes files at once.
class LateClock : public rocksdb::SystemClockWrapper {
 public:
  using SystemClockWrapper::SystemClockWrapper;
  const char* Name() const override { return "VecinoLateClock"; }
  uint64_t NowMicros() override { return SystemClockWrapper::NowMicros() - 4'000'000; }
};

class RoomFileSystem : public rocksdb::FileSystemWrapper {
 public:
  RoomFileSystem(const std::shared_ptr<rocksdb::FileSystem>& target,
                 std::shared_ptr<const WriteStop> stop)
      : FileSystemWrapper(target), stop_(std::move(stop)) {}
  const char* Name() const override { return "VecinoRoom"; }
  rocksdb::IOStatus GetFreeSpace(const std::string& path, const rocksdb::IOOptions& options,
                                 uint64_t* free, rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus status = FileSystemWrapper::GetFreeSpace(path, options, free, debug);
    if (status.ok()) *free = stop_->RoomFor(*free);
    return status;
  }

 private:
  const std::shared_ptr<const WriteStop> stop_;
};

class RoomEnv : public rocksdb::EnvWrapper {
 public:
  explicit RoomEnv(rocksdb::Env* target) : EnvWrapper(target) {
    system_clock_ = std::make_shared<LateClock>(target->GetSystemClock());
  }
  const char* Name() const override { return "VecinoRoom"; }
};

}  // namespace

void WriteStop::OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) {
  using Reason = rocksdb::BackgroundErrorReason;
  if (error->IsNoSpace()) full_.store(true);
  // RocksDB gives errors that it may repeat no severity. It repeats compactions by itself.
  const bool repeats =
      error->severity() == rocksdb::Status::Severity::kNoError && reason == Reason::kCompaction;
  if (error->severity() != rocksdb::Status::Severity::kSoftError && !repeats) {
    uint64_t wal = 0;
    uint64_t bytes = 0;
    if (rocksdb::DB* db = db_.load(); db != nullptr) {
      // These two come after the record was (perhaps partly) written to the write-ahead log. The
      // writer is still in its turn, so that log is the one.
      if (reason == Reason::kWriteCallback || reason == Reason::kMemTable) {
        std::unique_ptr<rocksdb::LogFile> file;
        wal =
            db->GetCurrentWalFile(&file).ok() && file != nullptr ? file->LogNumber() : kUnknownWal;
      }
      (void)db->GetAggregatedIntProperty(rocksdb::DB::Properties::kCurSizeAllMemTables, &bytes);
    }
    absl::MutexLock lock(&mutex_);
    if (!stopped() || error->severity() > error_.severity()) error_ = *error;
    suspect_wal_ = std::max(suspect_wal_, wal);
    bytes_to_flush_ = std::max(bytes_to_flush_, bytes);
    recovered_ = false;
    stopped_at_ = absl::Now();
    stops_.fetch_add(1);
  }
  if (warn_) warn_(absl::StrCat("the store cannot write: ", error->ToString()));
}

void WriteStop::OnErrorRecoveryEnd(const rocksdb::BackgroundErrorRecoveryInfo& info) {
  if (!info.new_bg_error.ok()) return;
  full_.store(false);
  if (info.old_bg_error.severity() < rocksdb::Status::Severity::kHardError) return;
  absl::MutexLock lock(&mutex_);
  recovered_ = true;
  recovered_at_ = absl::Now();
  bytes_to_flush_ = 0;
}

WriteStop::State WriteStop::state() const {
  absl::MutexLock lock(&mutex_);
  return {.stopped = stopped(),
          .number = stops_.load(),
          .error = error_,
          .recovered = recovered_,
          .recovered_at = recovered_at_,
          .suspect_wal = suspect_wal_,
          .bytes_to_flush = bytes_to_flush_};
}

void WriteStop::Settle(uint64_t number) {
  absl::MutexLock lock(&mutex_);
  settled_.store(number);
  if (!stopped()) suspect_wal_ = 0;
}

uint64_t WriteStop::RoomFor(uint64_t free) const {
  absl::MutexLock lock(&mutex_);
  if (!stopped() || recovered_) return free;
  if (absl::Now() < stopped_at_ + kPause || free < bytes_to_flush_ + kMargin) return 0;
  return std::numeric_limits<int64_t>::max();
}

std::shared_ptr<rocksdb::SstFileManager> MakeRecoveringFileManager(
    rocksdb::Env* env, std::shared_ptr<const WriteStop> stop) {
  RoomEnv room_env(env);  // is asked for its clock, and not kept
  return std::shared_ptr<rocksdb::SstFileManager>(rocksdb::NewSstFileManager(
      &room_env, std::make_shared<RoomFileSystem>(env->GetFileSystem(), std::move(stop))));
}

}  // namespace vecino::storage
