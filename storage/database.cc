#include "storage/database.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rocksdb/listener.h"
#include "rocksdb/transaction_log.h"
#include "rocksdb/write_batch.h"
#include "storage/database_options.h"
#include "storage/records.h"
#include "storage/rocksdb_status.h"
#include "storage/slices.h"
#include "storage/table_check.h"
#include "storage/wal_check.h"

namespace vecino::storage {

class ErrorListener : public rocksdb::EventListener {
 public:
  explicit ErrorListener(std::function<void(std::string_view)> warn) : warn_(std::move(warn)) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    // These two come after the record was (perhaps partly) written to the write-ahead log.
    if (reason == rocksdb::BackgroundErrorReason::kWriteCallback ||
        reason == rocksdb::BackgroundErrorReason::kMemTable) {
      write_errors_.fetch_add(1);
    }
    const uint64_t number = errors_.fetch_add(1) + 1;
    if (error->IsNoSpace()) full_at_.store(number);
    if (warn_) warn_(absl::StrCat("the store cannot write: ", error->ToString()));
  }

  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status error,
                            bool* auto_recovery) override {
    // RocksDB may retry compactions by itself; what stopped writes is for Database::Recover.
    if (error.severity() >= rocksdb::Status::Severity::kHardError) *auto_recovery = false;
  }

  uint64_t errors() const { return errors_.load(); }  // so far
  uint64_t write_errors() const {
    return write_errors_.load();
  }  // those among them that hit a write
  // True while there are errors that nobody has recovered from.
  bool pending() const { return errors_.load() != recovered_.load(); }
  // True while one of them says that the disk is full.
  bool disk_full() const { return full_at_.load() > recovered_.load(); }
  void SetRecovered(uint64_t errors) { recovered_.store(errors); }

 private:
  const std::function<void(std::string_view)> warn_;
  std::atomic<uint64_t> errors_{0};
  std::atomic<uint64_t> write_errors_{0};
  std::atomic<uint64_t> recovered_{0};
  std::atomic<uint64_t> full_at_{0};  // errors() with the last one that said so; 0: none did
};

namespace {

constexpr absl::Duration kRecoveryInterval = absl::Seconds(1);

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
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    (void)db_->DestroyColumnFamilyHandle(handle);
  }
  (void)db_->Close();
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const StoreOptions& options,
                                                         rocksdb::Env* env) {
  if (absl::Status status = MakeFolder(options.path); !status.ok()) return status;
  std::unique_ptr<Database> database(new Database(options));
  if (absl::Status status = database->OpenFamilies(env == nullptr ? rocksdb::Env::Default() : env);
      !status.ok()) {
    return status;
  }
  absl::MutexLock lock(&database->recovery_mutex_);
  if (absl::Status status = database->CountOpening(); !status.ok()) return status;
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
  db_options.env = env;
  errors_ = std::make_shared<ErrorListener>(options_.warn);
  db_options.listeners.push_back(errors_);

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

// Besides counting, this keeps the memory table of meta from being empty: only then does RocksDB's
// Resume begin a new write-ahead log (see Recover).
absl::Status Database::CountOpening() {
  const std::string key = MetaKey(MetaKind::kOpenings);
  const absl::StatusOr<uint64_t> openings = GetNumber(Family::kMeta, key);
  if (!openings.ok()) return openings.status();
  rocksdb::WriteBatch batch;
  batch.Put(family(Family::kMeta), key, EncodeNumber(*openings + 1));
  rocksdb::WriteOptions write_options;
  write_options.sync = options_.sync_writes;
  return WriteStatus(db_->Write(write_options, &batch),
                     absl::StrCat("writing to the store ", options_.path));
}

absl::Status Database::Write(rocksdb::WriteBatch* batch, std::string_view doing) {
  if (errors_->pending()) {
    if (absl::Status status = Recover(); !status.ok()) return status;
  }
  rocksdb::WriteOptions write_options;
  write_options.sync = options_.sync_writes;
  return WriteStatus(db_->Write(write_options, batch), doing);
}

// RocksDB tells one caller of the full disk and answers others "busy": all are to know what to do.
absl::Status Database::WriteStatus(const rocksdb::Status& status, std::string_view doing) const {
  const bool waiting = status.IsBusy() || status.IsIncomplete() || status.IsAborted() ||
                       status.IsTryAgain() || status.IsTimedOut();
  if (!status.IsNoSpace() && !(waiting && errors_->disk_full())) return ToStatus(status, doing);
  return absl::ResourceExhaustedError(
      absl::StrCat(std::string(doing), ": the disk that holds ", options_.path,
                   " is full (RocksDB: ", status.ToString(), "); free disk space and try again"));
}

uint64_t Database::CurrentWal() const {
  std::unique_ptr<rocksdb::LogFile> wal;
  return db_->GetCurrentWalFile(&wal).ok() && wal != nullptr ? wal->LogNumber() : 0;
}

// Brings the store back after an error that stopped writes, such as a full disk. A write that
// failed may be in the write-ahead log, in part or whole, though its caller was told that it was
// not done. Resume flushes every memory table and begins a new log; the old one is then never
// replayed, which makes the answer true, and lets the sequence numbers be used again.
absl::Status Database::Recover() {
  absl::MutexLock lock(&recovery_mutex_);
  if (!errors_->pending()) return absl::OkStatus();
  const absl::Time now = absl::Now();
  if (now < next_recovery_) return last_recovery_;

  const uint64_t errors = errors_->errors();
  if (const uint64_t write_errors = errors_->write_errors(); write_errors != seen_write_errors_) {
    seen_write_errors_ = write_errors;
    suspect_wal_ = CurrentWal();
  }
  next_recovery_ = now + kRecoveryInterval;
  last_recovery_ = WriteStatus(db_->Resume(),
                               "the store refuses writes since one failed, and cannot yet recover");
  // Not where the disk is full: a server needs room to start.
  if (!last_recovery_.ok() && !absl::IsResourceExhausted(last_recovery_)) {
    last_recovery_ = absl::Status(
        last_recovery_.code(),
        absl::StrCat(last_recovery_.message(), "; restart the server if this stays so"));
  }
  if (!last_recovery_.ok()) return last_recovery_;
  if (suspect_wal_ != 0 && CurrentWal() == suspect_wal_) {
    last_recovery_ = absl::UnavailableError(
        "the store refuses writes: one failed, and RocksDB did not begin a new write-ahead log; "
        "restart the server");
    return last_recovery_;
  }
  if (suspect_wal_ != 0) Warn("the store recovered from a failed write and accepts writes again");
  suspect_wal_ = 0;
  errors_->SetRecovered(errors);
  next_recovery_ = absl::InfinitePast();
  return CountOpening();
}

absl::Status Database::Flush() {
  if (errors_->pending()) {
    if (absl::Status status = Recover(); !status.ok()) return status;
  }
  const std::vector<rocksdb::ColumnFamilyHandle*> families(families_.begin(), families_.end());
  return WriteStatus(db_->Flush(rocksdb::FlushOptions(), families),
                     absl::StrCat("flushing the store ", options_.path));
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
