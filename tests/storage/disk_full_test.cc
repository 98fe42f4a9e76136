// A disk that is full, or fails, and comes back.
#include <atomic>
#include <chrono>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "rocksdb/file_system.h"
#include "rocksdb/write_batch.h"
#include "storage/database.h"
#include "storage/snapshot_folder.h"
#include "storage/store_internal.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

enum class Disk { kGood, kFull, kHalfFull, kSyncFails, kSlow };

// How files of one kind, or all, behave.
struct DiskState {
  std::atomic<Disk> logs{Disk::kGood};  // write-ahead logs
  std::atomic<Disk> tables{Disk::kGood};
  std::atomic<Disk> others{Disk::kGood};  // also tables, then
  mutable std::atomic<int> failed_tables{0};
};

class BadFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  BadFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, const std::atomic<Disk>* disk)
      : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk) {}

  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
    const Disk disk = disk_->load();
    if (disk == Disk::kHalfFull) {  // as write(2): the first part fits
      (void)FSWritableFileOwnerWrapper::Append({data.data(), data.size() / 2}, options, debug);
    }
    if (disk == Disk::kSlow) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (disk == Disk::kFull || disk == Disk::kHalfFull) {
      rocksdb::IOStatus status = rocksdb::IOStatus::NoSpace("No space left on device");
      status.SetRetryable(true);
      return status;
    }
    return FSWritableFileOwnerWrapper::Append(data, options, debug);
  }
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo&,
                           rocksdb::IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                         rocksdb::IODebugContext* debug) override {
    if (disk_->load() == Disk::kSyncFails) return rocksdb::IOStatus::IOError("fsync: EIO");
    return FSWritableFileOwnerWrapper::Sync(options, debug);
  }

 private:
  const std::atomic<Disk>* const disk_;
};

class BadFileSystem : public rocksdb::FileSystemWrapper {
 public:
  explicit BadFileSystem(const DiskState* state)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), state_(state) {}
  const char* Name() const override { return "BadFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    rocksdb::IOStatus status = FileSystemWrapper::NewWritableFile(name, options, file, debug);
    const bool table = name.ends_with(".sst");
    if (table && state_->tables == Disk::kFull) state_->failed_tables.fetch_add(1);
    if (status.ok()) {
      *file = std::make_unique<BadFile>(
          std::move(*file), name.ends_with(".log")                          ? &state_->logs
                            : table && state_->tables.load() != Disk::kGood ? &state_->tables
                                                                            : &state_->others);
    }
    return status;
  }
  // RocksDB's own logger, if anything uses it, is to meet the full disk too.
  rocksdb::IOStatus NewLogger(const std::string& name, const rocksdb::IOOptions& options,
                              std::shared_ptr<rocksdb::Logger>* logger,
                              rocksdb::IODebugContext* debug) override {
    return FileSystem::NewLogger(name, options, logger, debug);
  }
  // What RocksDB's own recovery from a full disk waits for.
  rocksdb::IOStatus GetFreeSpace(const std::string& path, const rocksdb::IOOptions& options,
                                 uint64_t* free, rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus status = FileSystemWrapper::GetFreeSpace(path, options, free, debug);
    if (state_->others == Disk::kFull) *free = 0;
    return status;
  }

 private:
  const DiskState* const state_;
};

class DiskFullTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    env_ = rocksdb::NewCompositeEnv(std::make_shared<BadFileSystem>(&disk_));
    ASSERT_OK(OpenOnBadDisk());
    const auto uid = store_->AddCollection(MakeRecord("c"));
    ASSERT_OK(uid);
    uid_ = *uid;
    OpenLog();
  }
  void TearDown() override {
    log_.reset();
    StoreFixture::TearDown();
  }
  absl::Status OpenOnBadDisk() {
    auto store = OpenStoreOn(options_, env_.get());
    if (store.ok()) store_ = *std::move(store);
    return store.status();
  }
  void OpenLog() {
    auto log = store_->OpenShard(uid_, 0, kDimension);
    ASSERT_OK(log);
    log_ = *std::move(log);
  }
  absl::Status Append(std::vector<Mutation> mutations) { return log_->Append(mutations); }

  // What a restart finds: the files as they are, without anything an orderly close would write.
  void Crash() {
    const std::string crashed = options_.path + "_crashed";
    std::filesystem::copy(options_.path, crashed);
    log_.reset();
    store_.reset();
    options_.path = crashed;
    disk_.logs = disk_.others = Disk::kGood;
  }

  // Recovery is tried at most once a second, so writes are refused for a moment.
  absl::Status AppendWhenRecovered(const std::vector<Mutation>& mutations) {
    absl::Status status;
    for (int i = 0; i < 200; ++i) {
      status = Append(mutations);
      if (status.ok()) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return status;
  }

  DiskState disk_;
  std::unique_ptr<rocksdb::Env> env_;
  uint32_t uid_ = 0;
  std::unique_ptr<ShardLog> log_;
};

TEST_F(DiskFullTest, FailedWriteIsNotThereAndItsNumberCanBeUsedAgain) {
  ASSERT_OK(Append({Put(1, "a")}));
  for (const Disk disk : {Disk::kFull, Disk::kHalfFull}) {
    const uint64_t next = log_->LastSequence() + 1;
    disk_.logs = disk_.others = disk;
    for (int i = 0; i < 3; ++i) {
      const absl::Status status = Append({Put(next, "failed", 0)});
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status.ToString();
      EXPECT_THAT(status.message(),
                  testing::HasSubstr("the disk that holds " + options_.path + " is full"));
      // There it would not start.
      EXPECT_THAT(status.message(), testing::Not(testing::HasSubstr("restart")));
    }
    EXPECT_EQ(log_->LastSequence(), next - 1);  // reads go on
    EXPECT_EQ(Current(*log_, "failed"), 0u);
    EXPECT_EQ(Current(*log_, "a"), 1u);
    disk_.logs = disk_.others = Disk::kGood;
    ASSERT_OK(AppendWhenRecovered({Put(next, "good" + std::to_string(next))}));
    ASSERT_OK(Append({Put(next + 1, "after" + std::to_string(next))}));
  }
  EXPECT_THAT(Warnings(), testing::HasSubstr("recovered"));
  std::ostringstream log;
  log << std::ifstream(options_.path + "/LOG").rdbuf();
  EXPECT_THAT(log.str(), testing::HasSubstr("No space left on device"));
  Crash();
  ASSERT_OK(Open());
  OpenLog();
  EXPECT_EQ(log_->LastSequence(), 5u);
  EXPECT_EQ(Current(*log_, "failed"), 0u);
  EXPECT_EQ(Current(*log_, "good2"), 2u);
  EXPECT_EQ(Current(*log_, "good4"), 4u);
  EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1, 2, 3, 4, 5}));
}

TEST_F(DiskFullTest, FirstWriteAfterOpeningRecoversToo) {
  ASSERT_OK(Append({Put(1, "a")}));
  log_.reset();
  store_.reset();
  ASSERT_OK(OpenOnBadDisk());
  OpenLog();
  disk_.logs = disk_.others = Disk::kFull;
  EXPECT_EQ(Append({Put(2, "b")}).code(), absl::StatusCode::kResourceExhausted);
  disk_.logs = disk_.others = Disk::kGood;
  EXPECT_OK(AppendWhenRecovered({Put(2, "c")}));
  EXPECT_EQ(Current(*log_, "c"), 2u);
}

TEST_F(DiskFullTest, CrashWhileTheDiskIsFullKeepsAllThatWasAcknowledged) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b")}));
  disk_.logs = disk_.others = Disk::kHalfFull;
  EXPECT_EQ(Append({Put(3, "failed")}).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(Append({Put(3, "failed")}).ok());
  Crash();
  ASSERT_OK(Open());
  OpenLog();
  EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1, 2}));
}

// After a failed sync nobody knows what is on the disk, so the store stays shut until it is opened
// anew, and then holds all of the write or nothing.
TEST_F(DiskFullTest, FailedSyncRefusesWritesUntilReopened) {
  ASSERT_OK(Append({Put(1, "a")}));
  disk_.logs = Disk::kSyncFails;
  EXPECT_EQ(Append({Put(2, "unknown"), Put(3, "unknown too")}).code(),
            absl::StatusCode::kUnavailable);
  disk_.logs = Disk::kGood;
  const absl::Status refused = Append({Put(2, "other")});
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(refused.message(), testing::HasSubstr("restart the server"));
  EXPECT_EQ(store_->AddCollection(MakeRecord("x")).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(log_->PutManifest("m").ok());
  EXPECT_EQ(Current(*log_, "unknown"), 0u);
  EXPECT_EQ(Current(*log_, "a"), 1u);
  Crash();
  ASSERT_OK(Open());
  OpenLog();
  const uint64_t last = log_->LastSequence();
  EXPECT_TRUE(last == 1 || last == 3) << last;
  EXPECT_EQ(Scan(*log_).size(), last);
  EXPECT_EQ(Current(*log_, "other"), 0u);
  EXPECT_OK(Append({Put(last + 1, "other")}));
}

TEST_F(DiskFullTest, FlushThatFindsTheDiskFullLosesNothing) {
  ASSERT_OK(Append({Put(1, "a")}));
  disk_.others = Disk::kFull;
  EXPECT_EQ(store_->Flush().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Current(*log_, "a"), 1u);
  EXPECT_EQ(Append({Put(2, "b")}).code(), absl::StatusCode::kResourceExhausted);
  disk_.others = Disk::kGood;
  ASSERT_OK(AppendWhenRecovered({Put(2, "b")}));
  Crash();
  ASSERT_OK(Open());
  OpenLog();
  EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1, 2}));
}

// RocksDB tries a compaction that failed again by itself, and takes writes meanwhile.
TEST_F(DiskFullTest, ACompactionWithoutRoomStopsNoWrites) {
  log_.reset();
  store_.reset();
  const auto database = Database::Open(options_, env_.get());
  ASSERT_OK(database);
  rocksdb::DB& db = (*database)->db();
  rocksdb::ColumnFamilyHandle* const family = (*database)->family(Family::kMeta);
  const auto write = [&](const std::string& key) {
    rocksdb::WriteBatch batch;
    batch.Put(family, key, "x");
    return (*database)->Write(&batch, "writing " + key);
  };
  for (const char* key : {"x1", "x2"}) {
    ASSERT_OK(write(key));
    // Two tables: with four RocksDB would compact by itself.
    ASSERT_TRUE(db.Flush(rocksdb::FlushOptions(), family).ok());
  }
  disk_.others = Disk::kFull;
  rocksdb::CompactRangeOptions compact;
  compact.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  ASSERT_TRUE(db.CompactRange(compact, family, nullptr, nullptr).IsNoSpace());
  ASSERT_OK(write("taken"));
  disk_.logs = Disk::kFull;
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = write("refused");
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status.ToString();
    EXPECT_THAT(status.message(),
                testing::HasSubstr("the disk that holds " + options_.path + " is full"));
  }
  disk_.logs = disk_.others = Disk::kGood;
}

// What hung for ever with DB::Resume: see MakeRecoveringFileManager. The log becomes full, which
// makes every family be flushed; these flushes fail one after another, and so do those of several
// recoveries, as the disk says that it has room.
TEST_F(DiskFullTest, FlushesThatFailWhileItRecoversHoldNobodyUp) {
  log_.reset();
  store_.reset();
  options_.write_buffer_bytes = 1 << 20;
  for (const bool room_again : {true, false}) {
    auto database = Database::Open(options_, env_.get());
    ASSERT_OK(database);
    std::atomic<bool> ending{false};
    std::atomic<int> refused{0};
    std::atomic<int64_t> longest_ms{0};
    std::vector<std::vector<std::string>> written(4);
    std::vector<std::thread> writers;
    for (size_t w = 0; w < written.size(); ++w) {
      writers.emplace_back([&, w] {
        for (int i = 0; !ending; ++i) {
          const std::string key =
              "y" + std::to_string(room_again) + std::to_string(w) + "-" + std::to_string(i);
          rocksdb::WriteBatch batch;
          for (const Family family :
               {Family::kMeta, Family::kDocuments, Family::kVectors, Family::kIds}) {
            batch.Put((*database)->family(family), key, std::string(8 << 10, 'v'));
          }
          const absl::Time began = absl::Now();
          const absl::Status status = (*database)->Write(&batch, "writing " + key);
          if (status.ok()) {
            written[w].push_back(key);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            continue;
          }
          EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status.ToString();
          refused.fetch_add(1);
          const int64_t ms = absl::ToInt64Milliseconds(absl::Now() - began);
          if (ms > longest_ms) longest_ms = ms;
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    disk_.tables = Disk::kFull;
    const int tables = disk_.failed_tables;
    for (int i = 0; i < 200 && disk_.failed_tables < tables + 5; ++i) {  // recoveries among them
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    EXPECT_GE(disk_.failed_tables, tables + 5);
    EXPECT_GT(refused, 0);
    EXPECT_LT(longest_ms, 2000);
    if (room_again) {
      disk_.tables = Disk::kGood;
      bool goes_on = false;
      for (int i = 0; i < 150 && !goes_on; ++i) {
        rocksdb::WriteBatch batch;
        batch.Put((*database)->family(Family::kMeta), "y-after", "x");
        goes_on = (*database)->Write(&batch, "writing").ok();
        if (!goes_on) std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
      EXPECT_TRUE(goes_on);
    }
    ending = true;
    for (std::thread& writer : writers) writer.join();
    if (room_again) {
      ASSERT_OK((*database)->Flush());  // nothing stands in the way of the flushes to come
    }
    const absl::Time closing = absl::Now();
    database->reset();
    EXPECT_LT(absl::Now() - closing, absl::Seconds(5));
    disk_.tables = Disk::kGood;
    const auto again = Database::Open(options_, env_.get());
    ASSERT_OK(again);
    for (const auto& keys : written) {
      EXPECT_FALSE(keys.empty());
      for (const std::string& key : keys) {
        for (const Family family :
             {Family::kMeta, Family::kDocuments, Family::kVectors, Family::kIds}) {
          EXPECT_OK((*again)->Get(family, key));
        }
      }
    }
  }
}

// A log that had just been begun, as after one that became full: nothing but Database::KeepMemory
// is in memory tables that were not sealed, and RocksDB would go on with the log in which the write
// failed. Where the last log's flushes are under way, families even count from that log.
TEST_F(DiskFullTest, AFailedFirstWriteOfALogIsLeftBehindToo) {
  log_.reset();
  store_.reset();
  auto database = Database::Open(options_, env_.get());
  ASSERT_OK(database);
  const auto write = [&](const std::string& key, size_t bytes) {
    rocksdb::WriteBatch batch;
    for (const Family family :
         {Family::kMeta, Family::kDocuments, Family::kVectors, Family::kIds}) {
      batch.Put((*database)->family(family), key, std::string(bytes, 'v'));
    }
    return (*database)->Write(&batch, "writing " + key);
  };
  const auto wal = [&] {
    std::unique_ptr<rocksdb::LogFile> file;
    EXPECT_TRUE((*database)->db().GetCurrentWalFile(&file).ok());
    return file->LogNumber();
  };
  for (const bool flushing : {false, true}) {
    const std::string round = flushing ? "x2" : "x1";
    if (flushing) {
      disk_.tables = Disk::kSlow;
      const uint64_t before = wal();
      ASSERT_OK(write("x-large", options_.write_buffer_bytes / 3));
      ASSERT_GT(wal(), before);
    } else {
      ASSERT_OK((*database)->Flush());
    }
    disk_.logs = Disk::kHalfFull;
    EXPECT_EQ(write(round + "-failed", 1).code(), absl::StatusCode::kResourceExhausted);
    disk_.logs = disk_.tables = Disk::kGood;
    absl::Status status;
    for (int i = 0; i < 100 && !(status = write(round + "-good", 1)).ok(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    ASSERT_OK(status);
  }
  Crash();
  const auto again = Database::Open(options_, env_.get());
  ASSERT_OK(again);
  for (const Family family : {Family::kMeta, Family::kDocuments, Family::kVectors, Family::kIds}) {
    for (const std::string key : {"x1-good", "x2-good", "x-large"}) {
      EXPECT_OK((*again)->Get(family, key));
    }
    for (const std::string key : {"x1-failed", "x2-failed"}) {
      EXPECT_EQ((*again)->Get(family, key).status().code(), absl::StatusCode::kNotFound);
    }
  }
}

TEST_F(DiskFullTest, OpeningOnAFullDiskIsResourceExhausted) {
  ASSERT_OK(Append({Put(1, "a")}));
  log_.reset();
  store_.reset();
  disk_.logs = disk_.others = Disk::kFull;
  EXPECT_EQ(OpenOnBadDisk().code(), absl::StatusCode::kResourceExhausted);
  disk_.logs = disk_.others = Disk::kGood;
  ASSERT_OK(OpenOnBadDisk());
  OpenLog();
  EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1}));
}

TEST_F(DiskFullTest, ASnapshotIsRefusedAndLeavesNothing) {
  ASSERT_OK(Append({Put(1, "a")}));
  SnapshotFolder snapshots((folder_ / "snapshots").string());
  ASSERT_OK(snapshots.Open());
  disk_.others = Disk::kFull;
  const auto folder = snapshots.Begin("s");
  ASSERT_OK(folder);
  const absl::Status status = store_->WriteSnapshot(*folder, {}, "v", nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status.ToString();
  snapshots.Abandon("s");
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "snapshots"));
  disk_.others = Disk::kGood;
  ASSERT_OK(Append({Put(2, "b")}));  // the store itself is not stopped by it
}

TEST_F(DiskFullTest, WhatAFailedRestoreLeftGoesWithTheNextOne) {
  ASSERT_OK(Append({Put(1, "a")}));
  SnapshotFolder snapshots((folder_ / "snapshots").string());
  ASSERT_OK(snapshots.Open());
  const auto folder = snapshots.Begin("s");
  ASSERT_OK(folder);
  const auto manifest = store_->WriteSnapshot(*folder, {}, "v", nullptr);
  ASSERT_OK(manifest);
  ASSERT_OK(snapshots.Publish("s", *manifest));
  const RestoreTarget target{uid_, "copy"};
  uint64_t told = 0;
  const auto restore = [&](bool fill) {
    return store_->RestoreSnapshot(
        snapshots.PathOf("s"), *manifest, {&target, 1},
        [](const CollectionRecord&, uint64_t) { return std::string("m"); },
        [&](uint64_t rows, uint64_t) {
          told += rows;
          if (fill) disk_.logs = disk_.others = Disk::kFull;  // all rows are written
          return absl::OkStatus();
        });
  };
  EXPECT_EQ(restore(true).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(told, 0u);
  // Now that the disk says that it is full, none is begun.
  const absl::Status refused = restore(false).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("has 0 bytes free"));
  disk_.logs = disk_.others = Disk::kGood;
  ASSERT_OK(AppendWhenRecovered({Put(2, "b")}));
  const auto restored = restore(false);
  ASSERT_OK(restored);
  log_.reset();
  store_.reset();
  const auto raw = OpenRaw();
  std::string value;
  for (uint32_t uid = uid_ + 1; uid < (*restored)[0].uid; ++uid) {
    EXPECT_TRUE(raw->db
                    ->Get(rocksdb::ReadOptions(), (*raw)[Family::kMeta],
                          MetaKey(MetaKind::kDropping, uid), &value)
                    .IsNotFound());
    std::unique_ptr<rocksdb::Iterator> at(
        raw->db->NewIterator(rocksdb::ReadOptions(), (*raw)[Family::kDocuments]));
    at->Seek(UidPrefix(uid));
    EXPECT_FALSE(at->Valid() && at->key().starts_with(UidPrefix(uid)));
  }
}

}  // namespace
}  // namespace vecino::storage
