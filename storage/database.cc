#include "storage/database.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rocksdb/transaction_log.h"
#include "rocksdb/write_batch.h"
#include "storage/database_options.h"
#include "storage/records.h"
#include "storage/rocksdb_status.h"
#include "storage/slices.h"
#include "storage/table_check.h"
#include "storage/wal_check.h"

namespace vecino::storage {

namespace {

// After RocksDB has recovered. Its thread then looks once more whether the next error has come, and
// does so without a lock: none may come so soon.
constexpr absl::Duration kSettling = absl::Milliseconds(100);
constexpr absl::Duration kLeaveInterval = absl::Milliseconds(200);

absl::Status FileError(std::string_view doing, const std::string& path,
                       const std::error_code& error) {
  const std::string message = absl::StrCat(std::string(doing), " ", path, ": ", error.message());
  if (error == std::errc::no_space_on_device) {
    return absl::ResourceExhaustedError(absl::StrCat(message, "; free disk space and try again"));
  }
  return absl::UnavailableError(message);
}

// Makes the folder and, when it is new, makes its name durable.
absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::create_directories(path, error)) {
    return error ? FileError("making the data folder", path, error) : absl::OkStatus();
  }
  const std::string parent =
      std::filesystem::absolute(std::filesystem::path(path) / "..", error).lexically_normal();
  const int fd = open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || fsync(fd) != 0) {
    error = std::error_code(errno, std::generic_category());
    if (fd >= 0) close(fd);
    return FileError("syncing the folder", parent, error);
  }
  close(fd);
  return absl::OkStatus();
}

// Without CURRENT RocksDB would take the folder for new and delete the tables in it.
absl::Status RefuseHeadlessStore(const std::string& path) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    const std::filesystem::path extension = it->path().extension();
    if (extension == ".sst" || extension == ".log") {
      return absl::DataLossError(absl::StrCat(path, " holds ", it->path().filename().string(),
                                              " but the file ", path,
                                              "/CURRENT is missing; restore the data folder from a "
                                              "backup, or move it away to start anew"));
    }
  }
  if (error) return FileError("listing", path, error);
  return absl::OkStatus();
}

absl::Status HeldByOther(const std::string& path) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the data folder ", path, " is in use by another process; stop it or choose another folder"));
}

// Runs `CheckWriteAheadLogs` while holding the store's lock, so that nobody writes meanwhile.
absl::StatusOr<std::vector<std::string>> CheckLogsLocked(const std::string& path,
                                                         rocksdb::Env* env) {
  rocksdb::FileLock* lock = nullptr;
  const std::string lock_path = path + "/LOCK";
  if (const rocksdb::Status status = env->LockFile(lock_path, &lock); !status.ok()) {
    return IsLockHeld(status) ? HeldByOther(path) : ToStatus(status, "locking " + path);
  }
  absl::StatusOr<std::vector<std::string>> notes = CheckWriteAheadLogs(path);
  const rocksdb::Status unlocked = env->UnlockFile(lock);
  if (notes.ok() && !unlocked.ok()) return ToStatus(unlocked, "unlocking " + path);
  return notes;
}

}  // namespace

Database::Database(const StoreOptions& options) : options_(options) {}

Database::~Database() {
  if (db_ == nullptr) return;
  stop_->Attach(nullptr);
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    (void)db_->DestroyColumnFamilyHandle(handle);
  }
  (void)db_->Close();  // ends a recovery that waits for room, and waits for one that flushes
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const StoreOptions& options,
                                                         rocksdb::Env* env) {
  if (absl::Status status = MakeFolder(options.path); !status.ok()) return status;
  std::unique_ptr<Database> database(new Database(options));
  if (absl::Status status = database->OpenFamilies(env == nullptr ? rocksdb::Env::Default() : env);
      !status.ok()) {
    return status;
  }
  rocksdb::WriteOptions write_options;
  write_options.sync = options.sync_writes;
  if (absl::Status status = database->CountOpening(write_options); !status.ok()) return status;
  return database;
}

absl::Status Database::OpenFamilies(rocksdb::Env* env) {
  absl::StatusOr<std::vector<std::string>> notes = CheckLogsLocked(options_.path, env);
  if (!notes.ok()) return notes.status();
  for (const std::string& note : *notes) Warn(note);

  // Compactions have time; searches and writes on the same cores have not. Flushes keep their
  // priority, because writers wait for them.
  (void)env->LowerThreadPoolCPUPriority(rocksdb::Env::LOW, rocksdb::CpuPriority::kLow);
  rocksdb::DBOptions db_options = MakeDBOptions(options_);
  db_options.env = env_ = env;
  stop_ = std::make_shared<WriteStop>(options_.warn);
  db_options.listeners.push_back(stop_);
  db_options.sst_file_manager = MakeRecoveringFileManager(env, stop_);

  const std::string doing = absl::StrCat("opening the store ", options_.path);
  std::vector<std::string> names = {kFamilyNames[0]};
  const bool created = env->FileExists(options_.path + "/CURRENT").IsNotFound();
  if (created) {
    if (absl::Status status = RefuseHeadlessStore(options_.path); !status.ok()) return status;
  } else if (const rocksdb::Status status =
                 rocksdb::DB::ListColumnFamilies(db_options, options_.path, &names);
             !status.ok()) {
    return ToStatus(status, doing);
  }

  const auto family_options = MakeFamilyOptions(options_);
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) {
    const auto known = std::find(kFamilyNames.begin(), kFamilyNames.end(), name);
    descriptors.emplace_back(name, known == kFamilyNames.end()
                                       ? rocksdb::ColumnFamilyOptions()
                                       : family_options[known - kFamilyNames.begin()]);
  }
  rocksdb::DB* db = nullptr;
  if (const rocksdb::Status status =
          rocksdb::DB::Open(db_options, options_.path, descriptors, &handles_, &db);
      !status.ok()) {
    if (IsLockHeld(status)) return HeldByOther(options_.path);
    const absl::Status refused = ToStatus(status, doing);
    if (!absl::IsDataLoss(refused)) return refused;
    return absl::DataLossError(
        absl::StrCat(refused.message(), DescribeDamagedTables(options_.path, env)));
  }
  db_.reset(db);
  stop_->Attach(db);
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    const auto known = std::find(kFamilyNames.begin(), kFamilyNames.end(), handle->GetName());
    if (known != kFamilyNames.end()) families_[known - kFamilyNames.begin()] = handle;
  }
  return CheckOrWriteFormat(created);
}

absl::Status Database::CheckOrWriteFormat(bool created) {
  const absl::StatusOr<std::string> stored = Get(Family::kMeta, kFormatKey);
  if (stored.ok()) {
    const absl::StatusOr<uint32_t> version = DecodeFormat(*stored);
    if (!version.ok()) return Damaged(Family::kMeta, kFormatKey, version.status());
    if (*version > kFormatVersion) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the store ", options_.path, " has format version ", *version,
          ", this program knows versions up to ", kFormatVersion, "; use a newer program"));
    }
    for (size_t i = 0; i < kFamilyCount; ++i) {
      if (families_[i] == nullptr) {
        return absl::DataLossError(absl::StrCat("the store ", options_.path,
                                                " lacks its column family ", kFamilyNames[i]));
      }
    }
    if (*version == kFormatVersion) return absl::OkStatus();
    // Versions 2 and 3 only added to those before: 2 values of a further version and kinds of key
    // in meta, 3 fields of collection records, passages, and the kind of key that ties the sides of
    // a migration. From here on they may be written, which a program that knows an older version
    // must not take for damage, nor pass over.
    rocksdb::WriteBatch batch;
    batch.Put(family(Family::kMeta), AsSlice(kFormatKey), EncodeFormat(kFormatVersion));
    return Write(&batch, absl::StrCat("raising the format version of the store ", options_.path));
  }
  if (!absl::IsNotFound(stored.status())) return stored.status();

  // The format is the last thing a new store gets: without it, nothing may be there yet.
  if (!created) {
    std::unique_ptr<rocksdb::Iterator> it(
        db_->NewIterator(rocksdb::ReadOptions(), family(Family::kMeta)));
    it->SeekToFirst();
    const bool foreign = std::count(families_.begin(), families_.end(), nullptr) +
                             static_cast<std::ptrdiff_t>(handles_.size()) !=
                         static_cast<std::ptrdiff_t>(kFamilyCount);
    if (it->Valid() || foreign || !it->status().ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat(options_.path,
                       " holds a RocksDB database that is not a Vecino store: its key "
                       "\"format\" is missing; choose another folder"));
    }
  }
  const auto family_options = MakeFamilyOptions(options_);
  for (size_t i = 0; i < kFamilyCount; ++i) {
    if (families_[i] != nullptr) continue;
    const rocksdb::Status status =
        db_->CreateColumnFamily(family_options[i], kFamilyNames[i], &families_[i]);
    if (!status.ok()) return ToStatus(status, absl::StrCat("creating the store ", options_.path));
    handles_.push_back(families_[i]);
  }
  rocksdb::WriteBatch batch;
  batch.Put(family(Family::kMeta), AsSlice(kFormatKey), EncodeFormat(kFormatVersion));
  return Write(&batch, absl::StrCat("creating the store ", options_.path));
}

absl::Status Database::CountOpening(const rocksdb::WriteOptions& options) {
  const std::string key = MetaKey(MetaKind::kOpenings);
  const absl::StatusOr<uint64_t> openings = GetNumber(Family::kMeta, key);
  if (!openings.ok()) return openings.status();
  rocksdb::WriteBatch batch;
  batch.Put(family(Family::kMeta), key, EncodeNumber(*openings + 1));
  return WriteStatus(db_->Write(options, &batch),
                     absl::StrCat("writing to the store ", options_.path));
}

// Writes to the memory table of meta, past the log: what is there is stored already. To be called
// whenever a log was begun, before anything is written to it. RocksDB's recovery begins a new log
// only where a memory table is not empty, and where the first write to a log fails none else is.
// It must be the recovery that does: RocksDB 7.8 refuses for good to part with a log in which a
// write failed at any other time.
absl::Status Database::KeepMemory(bool may_wait) {
  const std::string key = MetaKey(MetaKind::kOpenings);
  const absl::StatusOr<uint64_t> openings = GetNumber(Family::kMeta, key);
  if (!openings.ok()) return openings.status();
  rocksdb::WriteBatch batch;
  batch.Put(family(Family::kMeta), key, EncodeNumber(*openings));
  rocksdb::WriteOptions write_options;
  write_options.disableWAL = true;
  write_options.no_slowdown = !may_wait;
  return WriteStatus(db_->Write(write_options, &batch),
                     absl::StrCat("writing to the store ", options_.path));
}

absl::Status Database::Write(rocksdb::WriteBatch* batch, std::string_view doing) {
  if (stop_->stopped()) {
    if (absl::Status status = Recover(); !status.ok()) return status;
  }
  rocksdb::WriteOptions write_options;
  write_options.sync = options_.sync_writes;
  const uint64_t bytes = batch->GetDataSize();
  rocksdb::Status status;
  {
    absl::ReaderMutexLock lock(&log_mutex_);
    status = db_->Write(write_options, batch);
  }
  if (status.ok() && log_bytes_.fetch_add(bytes) + bytes >= options_.write_buffer_bytes) BeginLog();
  return WriteStatus(status, doing);
}

// Begins a new log and the flush of all memory tables, unless those of the last log are not flushed
// yet. RocksDB could do this (max_total_wal_size), but not together with KeepMemory.
void Database::BeginLog() {
  uint64_t unflushed = 0;
  if (!db_->GetAggregatedIntProperty(rocksdb::DB::Properties::kNumImmutableMemTable, &unflushed) ||
      unflushed > 0) {
    return;
  }
  absl::MutexLock lock(&log_mutex_);
  if (log_bytes_ < options_.write_buffer_bytes || stop_->stopped()) return;
  // An error is told to stop_, or there is a pause of writes, and the next write tries again.
  (void)FlushAll(/*wait=*/false);
}

absl::Status Database::FlushAll(bool wait) {
  rocksdb::FlushOptions flush_options;
  flush_options.wait = wait;
  flush_options.allow_write_stall = true;  // where there is no room to compact, a stall may not end
  const std::vector<rocksdb::ColumnFamilyHandle*> families(families_.begin(), families_.end());
  const rocksdb::Status status = db_->Flush(flush_options, families);
  if (status.ok()) log_bytes_ = 0;
  const absl::Status kept = KeepMemory(/*may_wait=*/true);  // as all writes do, in a stall
  if (status.ok()) return kept;
  return WriteStatus(status, absl::StrCat("flushing the store ", options_.path));
}

// RocksDB tells one caller of the full disk and answers others "busy": all are to know what to do.
absl::Status Database::WriteStatus(const rocksdb::Status& status, std::string_view doing) const {
  const bool waiting = status.IsBusy() || status.IsIncomplete() || status.IsAborted() ||
                       status.IsTryAgain() || status.IsTimedOut();
  if (!status.IsNoSpace() && !(waiting && stop_->disk_full())) return ToStatus(status, doing);
  return absl::ResourceExhaustedError(
      absl::StrCat(std::string(doing), ": the disk that holds ", options_.path,
                   " is full (RocksDB: ", status.ToString(), "); free disk space and try again"));
}

absl::Status Database::Refusal(const WriteStop::State& stop) const {
  constexpr std::string_view kDoing = "the store refuses writes";
  const bool fatal = stop.error.severity() >= rocksdb::Status::Severity::kFatalError;
  if (!stop.error.IsNoSpace() && !stop.recovered) {
    const absl::Status status =
        ToStatus(stop.error, absl::StrCat(std::string(kDoing), " since one failed"));
    return absl::Status(status.code(), absl::StrCat(status.message(), "; restart the server"));
  }
  uint64_t free = 0;
  const bool known = env_->GetFreeSpace(options_.path, &free).ok();
  const uint64_t needed = stop.bytes_to_flush + WriteStop::kMargin;
  std::string message = absl::StrCat(std::string(kDoing), ": the disk that holds ", options_.path);
  if (fatal) {
    absl::StrAppend(&message, " was full (RocksDB: ", stop.error.ToString(), "), ", free,
                    " bytes are free; free disk space, then restart the server");
  } else if (known && free >= needed) {
    absl::StrAppend(&message, " is full no more (", free,
                    " bytes are free): writes go on by themselves in a moment; try again");
  } else {
    absl::StrAppend(&message, " is full (RocksDB: ", stop.error.ToString(), "), ", free,
                    " bytes are free and ", needed,
                    " are needed; free disk space and try again: writes go on by themselves");
  }
  return absl::ResourceExhaustedError(message);
}

// Opens the door again after an error that stopped writes, such as a full disk, once RocksDB has
// recovered from it. A write that failed may be in the write-ahead log, in part or whole, though
// its caller was told that it was not done. RocksDB's recovery flushes every memory table and
// begins a new log; once the old one is older than all that it must keep, it is never replayed,
// which makes the answer true, and lets the sequence numbers be used again.
absl::Status Database::Recover() {
  absl::MutexLock lock(&recovery_mutex_);
  const WriteStop::State stop = stop_->state();
  if (!stop.stopped) return absl::OkStatus();
  if (!stop.recovered || absl::Now() < stop.recovered_at + kSettling) return Refusal(stop);
  if (stop.suspect_wal != 0) {
    uint64_t kept = 0;
    if (!db_->GetIntProperty(rocksdb::DB::Properties::kMinLogNumberToKeep, &kept) ||
        kept <= stop.suspect_wal) {
      std::unique_ptr<rocksdb::LogFile> current;
      if (db_->GetCurrentWalFile(&current).ok() && current->LogNumber() == stop.suspect_wal) {
        return absl::UnavailableError(
            "the store refuses writes: one failed, and RocksDB did not begin a new write-ahead "
            "log; restart the server");
      }
      LeaveWal();
      return Refusal(stop);
    }
  }
  rocksdb::WriteOptions write_options;
  write_options.sync = options_.sync_writes;
  write_options.no_slowdown = true;  // nobody is to wait under the lock
  if (absl::Status status = KeepMemory(/*may_wait=*/false); !status.ok()) return status;
  if (absl::Status status = CountOpening(write_options); !status.ok()) return status;
  stop_->Settle(stop.number);
  if (stop.suspect_wal != 0) {
    Warn("the store recovered from a failed write and accepts writes again");
  } else {
    Warn("the store accepts writes again");
  }
  return absl::OkStatus();
}

// Lets RocksDB forget a log that may hold a failed write. Its recovery has begun a new one, but a
// family of which only older memory tables had to be flushed still counts from the old. A write to
// meta, and its flush, begin a log from which all empty families count.
void Database::LeaveWal() {
  const absl::Time now = absl::Now();
  if (now < next_leave_) return;
  next_leave_ = now + kLeaveInterval;
  if (!KeepMemory(/*may_wait=*/false).ok()) return;
  rocksdb::WriteOptions write_options;
  write_options.no_slowdown = true;
  if (!CountOpening(write_options).ok()) return;
  rocksdb::FlushOptions flush_options;
  flush_options.wait = false;
  flush_options.allow_write_stall = true;
  if (!db_->Flush(flush_options, family(Family::kMeta)).ok()) return;
  (void)KeepMemory(/*may_wait=*/false);
}

absl::Status Database::Flush() {
  if (stop_->stopped()) {
    if (absl::Status status = Recover(); !status.ok()) return status;
  }
  absl::MutexLock lock(&log_mutex_);
  return FlushAll(/*wait=*/true);
}

absl::StatusOr<std::string> Database::Get(Family cf, std::string_view key,
                                          const rocksdb::Snapshot* snapshot) const {
  rocksdb::ReadOptions read_options;
  read_options.snapshot = snapshot;
  std::string value;
  const rocksdb::Status status = db_->Get(read_options, family(cf), AsSlice(key), &value);
  if (!status.ok()) return Damaged(cf, key, ToStatus(status, "reading"));
  return value;
}

absl::StatusOr<uint64_t> Database::GetNumber(Family cf, std::string_view key,
                                             const rocksdb::Snapshot* snapshot) const {
  const absl::StatusOr<std::string> value = Get(cf, key, snapshot);
  if (absl::IsNotFound(value.status())) return 0;
  if (!value.ok()) return value.status();
  const absl::StatusOr<uint64_t> number = DecodeNumber(*value);
  if (!number.ok()) return Damaged(cf, key, number.status());
  return *number;
}

absl::Status Database::Scan(Family cf, std::string_view lower, std::string_view upper,
                            const RowFn& fn, const rocksdb::Snapshot* snapshot) const {
  const rocksdb::Slice upper_bound = AsSlice(upper);
  rocksdb::ReadOptions read_options;
  read_options.snapshot = snapshot;
  read_options.iterate_upper_bound = &upper_bound;
  read_options.readahead_size = kReadaheadBytes;
  read_options.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read_options, family(cf)));
  for (it->Seek(AsSlice(lower)); it->Valid(); it->Next()) {
    if (absl::Status status = fn(AsView(it->key()), AsView(it->value())); !status.ok()) {
      return status;
    }
  }
  return ToStatus(it->status(), absl::StrCat("scanning column family ",
                                             std::string(FamilyLabel(cf)), " of ", options_.path));
}

void Database::Warn(std::string_view message) const {
  if (options_.warn) options_.warn(message);
}

}  // namespace vecino::storage
