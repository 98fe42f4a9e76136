#include "storage/wal_check.h"

#include <random>

#include "absl/status/status.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

using testing::HasSubstr;

// A store whose write-ahead log holds ten acknowledged writes and has been copied away as a crash
// would leave it.
class WalCheckTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    ASSERT_OK(Open());
    const auto uid = store_->AddCollection(MakeRecord("c"));
    ASSERT_OK(uid);
    uid_ = *uid;
  }

  // Appends `count` writes with `text_bytes` of text each and takes the files as they are.
  void WriteAndCrash(uint64_t count, size_t text_bytes) {
    std::vector<size_t> ends;
    {
      const auto log = store_->OpenShard(uid_, 0, kDimension);
      ASSERT_OK(log);
      for (uint64_t sequence = 1; sequence <= count; ++sequence) {
        Mutation mutation = Put(sequence, "id" + std::to_string(sequence));
        mutation.document.text = std::string(text_bytes, static_cast<char>('a' + sequence % 26));
        ASSERT_OK((*log)->Append(std::vector<Mutation>{mutation}));
        ends_.push_back(std::filesystem::file_size(Files(options_.path, ".log").back()));
      }
    }
    std::filesystem::copy(options_.path, folder_ / "crashed");
    store_.reset();
    options_.path = (folder_ / "crashed").string();
    const auto logs = Files(options_.path, ".log");
    ASSERT_EQ(logs.size(), 1u);
    wal_ = logs[0];
    bytes_ = ReadFile(wal_);
    ASSERT_EQ(bytes_.size(), ends_.back());
  }

  // Opens what the crash left, with the log's bytes replaced, and returns how many writes are
  // there.
  absl::StatusOr<uint64_t> OpenWith(const std::string& bytes) {
    const std::filesystem::path copy = folder_ / "copy";
    std::filesystem::remove_all(copy);
    std::filesystem::copy(folder_ / "crashed", copy);
    WriteFile(copy / wal_.filename(), bytes);
    options_.path = copy.string();
    if (absl::Status status = Open(); !status.ok()) return status;
    uint64_t last = 0;
    {
      auto log = store_->OpenShard(uid_, 0, kDimension);
      if (!log.ok()) return log.status();
      last = (*log)->LastSequence();
      EXPECT_EQ(Scan(**log).size(), last);
      EXPECT_EQ(*(*log)->CountIds(), last);
    }
    store_.reset();
    return last;
  }

  uint32_t uid_ = 0;
  std::filesystem::path wal_;
  std::string bytes_;
  std::vector<size_t> ends_;  // ends_[i]: size of the log after write i + 1
};

TEST_F(WalCheckTest, WholeLogIsReplayed) {
  WriteAndCrash(10, 10);
  EXPECT_EQ(*OpenWith(bytes_), 10u);
  EXPECT_EQ(Warnings(), "");
}

TEST_F(WalCheckTest, TornTailLosesOnlyTheTornWrite) {
  WriteAndCrash(10, 10);
  for (size_t cut = ends_[8]; cut < bytes_.size(); cut += 17) {
    warnings_.clear();
    const auto last = OpenWith(bytes_.substr(0, cut));
    ASSERT_OK(last);
    EXPECT_EQ(*last, 9u) << cut;
    if (cut > ends_[8]) {
      EXPECT_THAT(Warnings(), HasSubstr("never finished")) << cut;
    }
  }
  // Space the file system gave but that was never written.
  EXPECT_EQ(*OpenWith(bytes_ + std::string(100'000, '\0')), 10u);
}

TEST_F(WalCheckTest, TornTailOfAWriteOverManyBlocks) {
  WriteAndCrash(4, 100'000);
  for (const size_t cut : {ends_[2] + 1, ends_[2] + 40'000, ends_[3] - 1}) {
    EXPECT_EQ(*OpenWith(bytes_.substr(0, cut)), 3u);
  }
}

// Any damage before the last write is found: never a shorter log, never a crash.
TEST_F(WalCheckTest, DamageInTheMiddleIsDataLossNamingTheFile) {
  WriteAndCrash(10, 10);
  for (size_t at = 0; at < ends_[8]; at += 23) {
    std::string bytes = bytes_;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x20);
    const auto last = OpenWith(bytes);
    ASSERT_EQ(last.status().code(), absl::StatusCode::kDataLoss)
        << "byte " << at << ": " << (last.ok() ? std::to_string(*last) : last.status().ToString());
    EXPECT_THAT(last.status().message(), HasSubstr(wal_.filename().string()));
  }
}

// RocksDB alone opens these without a word and without the writes, which is why the check exists.
TEST_F(WalCheckTest, DamageThatRocksDBPassesOverIsDataLoss) {
  WriteAndCrash(10, 10);
  std::string too_long = bytes_;
  too_long[ends_[4] + 5] = '\x70';  // high byte of the sixth write's length
  std::string zeroed = bytes_;
  std::fill(zeroed.begin() + static_cast<std::ptrdiff_t>(ends_[4]),
            zeroed.begin() + static_cast<std::ptrdiff_t>(ends_[5]), '\0');
  for (const std::string& bytes : {too_long, zeroed}) {
    EXPECT_EQ(OpenWith(bytes).status().code(), absl::StatusCode::kDataLoss);
    const auto raw = OpenRaw(rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords);
    ASSERT_NE(raw->db, nullptr);
    std::string value;
    EXPECT_TRUE(raw->db->Get({}, (*raw)[Family::kDocuments], SequenceKey(uid_, 0, 5), &value).ok());
    EXPECT_TRUE(
        raw->db->Get({}, (*raw)[Family::kDocuments], SequenceKey(uid_, 0, 6), &value).IsNotFound());
  }
}

TEST_F(WalCheckTest, DamageInOneOfManyBlocksIsDataLoss) {
  WriteAndCrash(6, 60'000);
  std::mt19937 random(3);
  for (int i = 0; i < 15; ++i) {
    std::string bytes = bytes_;
    bytes[random() % ends_[4]] ^= static_cast<char>(1 + random() % 255);
    EXPECT_EQ(OpenWith(bytes).status().code(), absl::StatusCode::kDataLoss);
  }
  std::string zero_page = bytes_;
  std::fill_n(zero_page.begin() + 65'536, 4096, '\0');
  EXPECT_EQ(OpenWith(zero_page).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(WalCheckTest, DamageInTheLastWriteIsNotPassedOverEither) {
  WriteAndCrash(10, 10);
  std::string bytes = bytes_;
  bytes[bytes.size() - 3] ^= 1;
  const absl::Status status = OpenWith(bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("cutting the file to " + std::to_string(ends_[8])));
  EXPECT_EQ(*OpenWith(bytes.substr(0, ends_[8])), 9u);  // what the message says works
}

TEST_F(WalCheckTest, FolderThatIsNotThereIsUnavailable) {
  EXPECT_EQ(CheckWriteAheadLogs((folder_ / "nowhere").string()).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace vecino::storage
