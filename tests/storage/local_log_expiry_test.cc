// Documents that expire and documents without a vector, as a shard's log keeps them.
#include "absl/status/status.h"
#include "storage/local_log.h"
#include "storage/records.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

using testing::HasSubstr;
using Expiries = std::vector<std::pair<int64_t, uint64_t>>;

Mutation Plain(uint64_t sequence, std::string id) {
  Mutation mutation = Put(sequence, std::move(id));
  mutation.document.vector.clear();
  return mutation;
}

Mutation Expiring(uint64_t sequence, std::string id, int64_t expire_time_us) {
  Mutation mutation = Put(sequence, std::move(id));
  mutation.document.expire_time_us = expire_time_us;
  return mutation;
}

// `mutation` in the place of what `replaced` put.
Mutation Over(Mutation mutation, const Mutation& replaced) {
  mutation.replaces = replaced.sequence;
  mutation.replaces_expire_time_us = replaced.document.expire_time_us;
  return mutation;
}

class LocalLogExpiryTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    ASSERT_OK(Open());
    const auto uid = store_->AddCollection(MakeRecord("c"));
    ASSERT_OK(uid);
    uid_ = *uid;
    OpenLog();
  }
  void TearDown() override {
    log_.reset();
    StoreFixture::TearDown();
  }
  void OpenLog() {
    auto log = store_->OpenShard(uid_, 0, kDimension);
    ASSERT_OK(log);
    log_ = *std::move(log);
  }
  void Reopen() {
    log_.reset();
    store_.reset();
    ASSERT_OK(Open());
    OpenLog();
  }
  absl::Status Append(const std::vector<Mutation>& mutations) { return log_->Append(mutations); }

  Expiries Scanned() const {
    Expiries expiries;
    EXPECT_OK(log_->ScanExpiries([&](int64_t time, uint64_t sequence) {
      expiries.emplace_back(time, sequence);
      return absl::OkStatus();
    }));
    return expiries;
  }
  absl::StatusOr<std::vector<std::optional<Document>>> Read(uint64_t sequence) const {
    constexpr DocumentParts kAll = {.text = true, .metadata = true, .vector = true};
    return log_->GetDocuments(std::vector<uint64_t>{sequence}, kAll);
  }

  uint32_t uid_ = 0;
  std::unique_ptr<ShardLog> log_;
};

TEST_F(LocalLogExpiryTest, DocumentWithoutAVectorIsStoredAndCounted) {
  ASSERT_OK(Append({Put(1, "a"), Plain(2, "b"), Plain(3, "c")}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(*log_->CountIds(), 3u);
    EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1}));
    const auto read = Read(2);
    ASSERT_OK(read);
    EXPECT_EQ((*read)[0]->text, "text of 2");
    EXPECT_FALSE((*read)[0]->has_vector);
    EXPECT_TRUE((*read)[0]->vector.empty());
    EXPECT_EQ((*read)[0]->uid, uid_);
    std::vector<bool> has_vector;
    ASSERT_OK(log_->ScanDocuments(0, 3, {}, [&](const Document& document) {
      EXPECT_EQ(document.uid, uid_);
      has_vector.push_back(document.has_vector);
      return absl::OkStatus();
    }));
    EXPECT_EQ(has_vector, (std::vector<bool>{true, false, false}));
    std::vector<bool> live;
    ASSERT_OK(log_->ReplayChanges(0, [&](const Change&, std::span<const float> vector) {
      live.push_back(!vector.empty());
      return absl::OkStatus();
    }));
    EXPECT_EQ(live, (std::vector<bool>{true, false, false}));
    Reopen();
  }
}

TEST_F(LocalLogExpiryTest, AVectorComesAndGoesWithItsVersion) {
  const Mutation with = Put(1, "a");
  const Mutation without = Over(Plain(2, "a"), with);
  const Mutation again = Over(Plain(3, "a"), without);
  const Mutation back = Over(Put(4, "a"), again);
  ASSERT_OK(Append({with, without}));
  EXPECT_TRUE(Scan(*log_).empty());  // the old vector went
  ASSERT_OK(Append({again}));
  ASSERT_OK(Append({back}));
  EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{4}));
  const Mutation last = Over(Plain(5, "a"), back);
  ASSERT_OK(Append({last, Over(Delete(6, "a", 0), last)}));
  Reopen();
  EXPECT_TRUE(Scan(*log_).empty());
  EXPECT_EQ(*log_->CountIds(), 0u);
}

TEST_F(LocalLogExpiryTest, WrongLengthsAndTimesAreRefused) {
  Mutation wrong = Put(1, "a");
  wrong.document.vector.pop_back();
  EXPECT_EQ(Append({wrong}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Append({Expiring(1, "b", -1)}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_OK(Append({Plain(1, "a")}));
}

TEST_F(LocalLogExpiryTest, ExpiriesAreOrderedByTimeAndGoWithTheirVersion) {
  const Mutation a = Expiring(1, "a", 3'000'000);
  const Mutation b = Expiring(2, "b", 1'000'000);
  const Mutation c = Expiring(3, "c", 2'000'000);
  ASSERT_OK(Append({a, b, c, Put(4, "d")}));
  EXPECT_EQ(Scanned(), (Expiries{{1'000'000, 2}, {2'000'000, 3}, {3'000'000, 1}}));
  const Mutation later = Over(Expiring(5, "b", 9'000'000), b);
  ASSERT_OK(Append({later, Over(Put(6, "a"), a), Over(Delete(7, "c", 0), c)}));
  Reopen();
  EXPECT_EQ(Scanned(), (Expiries{{9'000'000, 5}}));
  const auto read = Read(5);
  ASSERT_OK(read);
  EXPECT_EQ((*read)[0]->expire_time_us, 9'000'000);
  const auto listed = log_->ListIds("", 10);
  ASSERT_OK(listed);
  ASSERT_EQ(listed->size(), 3u);
  EXPECT_EQ((*listed)[0].second.expire_time_us, 0);
  EXPECT_EQ((*listed)[1].second.expire_time_us, 9'000'000);
}

TEST_F(LocalLogExpiryTest, MissingAndSurplusVectorsAreDamage) {
  ASSERT_OK(Append({Put(1, "a"), Plain(2, "b")}));
  log_.reset();
  store_.reset();
  {
    const auto raw = OpenRaw();
    const std::string with = SequenceKey(uid_, 0, 1);
    const std::string without = SequenceKey(uid_, 0, 2);
    ASSERT_TRUE(raw->db->Delete({}, (*raw)[Family::kVectors], with).ok());
    ASSERT_TRUE(
        raw->db->Put({}, (*raw)[Family::kVectors], without, EncodeVector(MakeVector(2))).ok());
  }
  ASSERT_OK(Open());
  OpenLog();
  for (const uint64_t sequence : {1, 2}) {
    const absl::Status status = Read(sequence).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("vector"));
  }
}

TEST_F(LocalLogExpiryTest, DropTakesAllRowsAlong) {
  ASSERT_OK(Append({Plain(1, "a"), Expiring(2, "b", 5)}));
  log_.reset();
  ASSERT_OK(store_->DropCollection(uid_));
  store_.reset();
  const auto raw = OpenRaw();
  std::unique_ptr<rocksdb::Iterator> it(raw->db->NewIterator({}, (*raw)[Family::kMeta]));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::string key = it->key().ToString();
    if (key == kFormatKey) continue;
    EXPECT_TRUE(key[1] == static_cast<char>(MetaKind::kNextUid) ||
                key[1] == static_cast<char>(MetaKind::kOpenings))
        << ToHex(key);
  }
}

// A store of version 1 is opened, and is one of version 2 from then on.
TEST_F(LocalLogExpiryTest, StoreOfVersionOneIsRaised) {
  ASSERT_OK(Append({Put(1, "a")}));
  log_.reset();
  store_.reset();
  ASSERT_TRUE(OpenRaw()->db->Put({}, std::string(kFormatKey), EncodeFormat(1)).ok());
  ASSERT_OK(Open());
  OpenLog();
  EXPECT_TRUE(Scanned().empty());
  EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1}));
  log_.reset();
  store_.reset();
  std::string format;
  ASSERT_TRUE(OpenRaw()->db->Get({}, std::string(kFormatKey), &format).ok());
  EXPECT_EQ(*DecodeFormat(format), kFormatVersion);
}

}  // namespace
}  // namespace vecino::storage
