#include "storage/store.h"

#include <sys/wait.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "storage/records.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

using testing::HasSubstr;
class StoreTest : public StoreFixture {};

TEST_F(StoreTest, CollectionsSurviveReopening) {
  ASSERT_OK(Open());
  CollectionRecord record = MakeRecord("words");
  record.model = "m";
  ASSERT_OK(store_->AddCollection(record));
  ASSERT_OK(store_->AddCollection(MakeRecord("packages")));
  EXPECT_EQ(store_->AddCollection(MakeRecord("words")).status().code(),
            absl::StatusCode::kAlreadyExists);
  store_.reset();
  ASSERT_OK(Open());
  const auto listed = store_->ListCollections();
  ASSERT_OK(listed);
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_EQ((*listed)[0].id, "packages");
  EXPECT_EQ((*listed)[1].id, "words");
  EXPECT_EQ((*listed)[1].model, "m");
  EXPECT_NE((*listed)[0].uid, (*listed)[1].uid);
  EXPECT_EQ(Warnings(), "");
}

TEST_F(StoreTest, HowACollectionIsIndexedCanBeReplaced) {
  ASSERT_OK(Open());
  CollectionRecord record = MakeRecord("words");
  record.index = {.kind = StoredIndexKind::kIvfFlat, .recall_millionths = 950'000, .nlist = 8};
  const auto uid = store_->AddCollection(record);
  ASSERT_OK(uid);
  ASSERT_OK(store_->AddCollection(MakeRecord("other")));
  StoredIndex index = record.index;
  index.recall_millionths = 990'000;
  index.nprobe = 3;
  ASSERT_OK(store_->PutIndex(*uid, index));
  EXPECT_EQ(store_->PutIndex(*uid + 7, index).code(), absl::StatusCode::kNotFound);
  for (const bool reopened : {false, true}) {
    if (reopened) {
      store_.reset();
      ASSERT_OK(Open());
    }
    const auto listed = store_->ListCollections();
    ASSERT_OK(listed);
    ASSERT_EQ(listed->size(), 2u);
    EXPECT_EQ((*listed)[0].index, MakeRecord("other").index);
    EXPECT_EQ((*listed)[1].index, index);
    EXPECT_EQ((*listed)[1].uid, *uid);
    EXPECT_EQ((*listed)[1].create_time_us, record.create_time_us);
  }
}

TEST_F(StoreTest, RefusesBadCollectionsAndShards) {
  ASSERT_OK(Open());
  EXPECT_EQ(store_->AddCollection(MakeRecord("")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->AddCollection(MakeRecord("a", 0)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->AddCollection(MakeRecord("a", 65536)).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto uid = store_->AddCollection(MakeRecord("a", 2));
  ASSERT_OK(uid);
  EXPECT_EQ(store_->OpenShard(*uid, 2, kDimension).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->OpenShard(*uid, 0, kDimension + 1).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->OpenShard(*uid + 1, 0, kDimension).status().code(),
            absl::StatusCode::kNotFound);
  const auto log = store_->OpenShard(*uid, 0, kDimension);
  ASSERT_OK(log);
  EXPECT_EQ(store_->OpenShard(*uid, 0, kDimension).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(StoreTest, DroppedCollectionIsGoneAndItsUidIsNeverReused) {
  ASSERT_OK(Open());
  const auto kept = store_->AddCollection(MakeRecord("kept"));
  const auto dropped = store_->AddCollection(MakeRecord("dropped"));
  ASSERT_OK(kept);
  ASSERT_OK(dropped);
  for (const uint32_t uid : {*kept, *dropped}) {
    const auto log = store_->OpenShard(uid, 1, kDimension);
    ASSERT_OK(log);
    ASSERT_OK((*log)->Append(std::vector<Mutation>{Put(1, "a"), Put(2, "b")}));
    ASSERT_OK((*log)->PutManifest("manifest"));
  }
  const auto open_log = store_->OpenShard(*dropped, 1, kDimension);
  ASSERT_OK(open_log);
  ASSERT_OK(store_->DropCollection(*dropped));
  EXPECT_EQ(store_->DropCollection(*dropped).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*open_log)->Append(std::vector<Mutation>{Put(3, "c")}).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->OpenShard(*dropped, 1, kDimension).status().code(),
            absl::StatusCode::kNotFound);
  const auto again = store_->AddCollection(MakeRecord("dropped"));
  ASSERT_OK(again);
  EXPECT_GT(*again, *dropped);
  ASSERT_OK(store_->DropCollection(*again));
  store_.reset();

  ASSERT_OK(Open());
  const auto third = store_->AddCollection(MakeRecord("dropped"));
  ASSERT_OK(third);
  EXPECT_GT(*third, *again);
  const auto log = store_->OpenShard(*kept, 1, kDimension);
  ASSERT_OK(log);
  EXPECT_EQ(Scan(**log), (std::vector<uint64_t>{1, 2}));
  store_.reset();

  // No row of the dropped uids is left, in any family.
  const auto raw = OpenRaw();
  for (const Family family :
       {Family::kDocuments, Family::kVectors, Family::kIds, Family::kChanges}) {
    std::unique_ptr<rocksdb::Iterator> it(raw->db->NewIterator({}, (*raw)[family]));
    int rows = 0;
    for (it->SeekToFirst(); it->Valid(); it->Next(), ++rows) {
      EXPECT_TRUE(it->key().starts_with(UidPrefix(*kept)));
    }
    EXPECT_EQ(rows, 2);
  }
}

TEST_F(StoreTest, RemovalCutShortByACrashIsFinishedAtOpening) {
  ASSERT_OK(Open());
  const auto uid = store_->AddCollection(MakeRecord("a"));
  ASSERT_OK(uid);
  {
    const auto log = store_->OpenShard(*uid, 0, kDimension);
    ASSERT_OK(log);
    ASSERT_OK((*log)->Append(std::vector<Mutation>{Put(1, "a")}));
  }
  store_.reset();
  {  // What the disk holds when the crash comes after the first of the two batches of
     // DropCollection.
    const auto raw = OpenRaw();
    rocksdb::WriteBatch batch;
    batch.Delete((*raw)[Family::kMeta], MetaKey(MetaKind::kCollection, *uid));
    batch.Put((*raw)[Family::kMeta], MetaKey(MetaKind::kDropping, *uid), EncodeNumber(*uid));
    ASSERT_TRUE(raw->db->Write({}, &batch).ok());
  }
  ASSERT_OK(Open());
  EXPECT_THAT(Warnings(), HasSubstr("finishing the removal"));
  EXPECT_TRUE(store_->ListCollections()->empty());
  const auto next = store_->AddCollection(MakeRecord("b"));
  ASSERT_OK(next);
  EXPECT_GT(*next, *uid);
  store_.reset();
  const auto raw = OpenRaw();
  std::unique_ptr<rocksdb::Iterator> it(raw->db->NewIterator({}, (*raw)[Family::kDocuments]));
  it->SeekToFirst();
  EXPECT_FALSE(it->Valid());
  std::string value;
  EXPECT_TRUE(raw->db->Get({}, (*raw)[Family::kMeta], MetaKey(MetaKind::kDropping, *uid), &value)
                  .IsNotFound());
  EXPECT_TRUE(
      raw->db->Get({}, (*raw)[Family::kMeta], MetaKey(MetaKind::kShardState, *uid, 0), &value)
          .IsNotFound());
}

TEST_F(StoreTest, SecondOpenerIsRefusedInThisProcessAndInAnother) {
  ASSERT_OK(Open());
  const auto second = Store::Open(options_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.status().message(), HasSubstr("in use by another process"));
  store_.reset();

  // The child only holds the lock; it never runs the test's destructors.
  int ready[2];
  int done[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(done), 0);
  ASSERT_TRUE(Open().ok());  // makes the LOCK file
  store_.reset();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  char byte = 'x';
  if (child == 0) {
    rocksdb::FileLock* lock = nullptr;
    const bool ok = rocksdb::Env::Default()->LockFile(options_.path + "/LOCK", &lock).ok();
    (void)!write(ready[1], ok ? "y" : "n", 1);
    (void)!read(done[0], &byte, 1);
    _exit(0);
  }
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(options_.path));
  ASSERT_EQ(write(done[1], "d", 1), 1);
  int exit_status = 0;
  ASSERT_EQ(waitpid(child, &exit_status, 0), child);
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) close(fd);
  EXPECT_OK(Open());
}

TEST_F(StoreTest, NewerFormatIsRefused) {
  ASSERT_OK(Open());
  store_.reset();
  ASSERT_TRUE(
      OpenRaw()->db->Put({}, std::string(kFormatKey), EncodeFormat(kFormatVersion + 1)).ok());
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("format version " + std::to_string(kFormatVersion + 1)));
  ASSERT_TRUE(OpenRaw()->db->Put({}, std::string(kFormatKey), "?").ok());
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
}

TEST_F(StoreTest, ForeignDatabaseIsRefusedAndLeftAlone) {
  std::filesystem::create_directories(options_.path);
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* db = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, options_.path, &db).ok());
  ASSERT_TRUE(db->Put({}, "somebody's", "row").ok());
  delete db;
  EXPECT_EQ(Open().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(rocksdb::DB::Open(options, options_.path, &db).ok());  // no family of ours was added
  std::string value;
  EXPECT_TRUE(db->Get({}, "somebody's", &value).ok());
  delete db;
}

TEST_F(StoreTest, StoreWithoutCurrentFileIsNotTakenForNew) {
  ASSERT_OK(Open());
  ASSERT_OK(store_->AddCollection(MakeRecord("a")));
  ASSERT_OK(store_->Flush());
  store_.reset();
  const std::filesystem::path current = std::filesystem::path(options_.path) / "CURRENT";
  const std::string bytes = ReadFile(current);
  std::filesystem::remove(current);
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("CURRENT"));
  WriteFile(current, bytes);
  ASSERT_OK(Open());
  EXPECT_EQ(store_->ListCollections()->size(), 1u);
}

TEST_F(StoreTest, UnusableFolderIsAClearError) {
  std::filesystem::create_directories(folder_);
  WriteFile(folder_ / "store", "a file");
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(options_.path));
}

TEST_F(StoreTest, DamagedCatalogIsDataLossNamingTheKey) {
  ASSERT_OK(Open());
  const auto uid = store_->AddCollection(MakeRecord("a"));
  ASSERT_OK(uid);
  store_.reset();
  ASSERT_TRUE(OpenRaw()->db->Put({}, MetaKey(MetaKind::kCollection, *uid), "\x01\x01").ok());
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("column family meta, key 016300000001"));
}

}  // namespace
}  // namespace vecino::storage
