#include "storage/mark.h"

#include "tests/storage/store_fixture.h"

namespace vecino::storage {
namespace {

Mark MakeMark(std::string token, uint64_t through) {
  Mark mark;
  mark.token = std::move(token);
  mark.through = through;
  mark.all_through = through / 2;
  mark.time_us = 1'700'000'000'000'000;
  mark.failures = {{1, 5}, {through, 3}};
  return mark;
}

TEST(MarkCodecTest, ReadsWhatItWroteAndNothingElse) {
  const Mark mark = MakeMark("t", 1'000'000);
  const std::string bytes = EncodeMark(mark);
  const auto read = DecodeMark(bytes);
  ASSERT_OK(read);
  EXPECT_EQ(read->through, mark.through);
  EXPECT_EQ(read->all_through, mark.all_through);
  EXPECT_EQ(read->time_us, mark.time_us);
  EXPECT_EQ(read->failures, mark.failures);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(DecodeMark(bytes.substr(0, length)).status().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(DecodeMark(bytes + '\0').status().code(), absl::StatusCode::kDataLoss);
  std::string other = bytes;
  other[0] = 2;
  EXPECT_EQ(DecodeMark(other).status().code(), absl::StatusCode::kDataLoss);
  other = bytes;
  other.back() = 17;  // no code
  EXPECT_EQ(DecodeMark(other).status().code(), absl::StatusCode::kDataLoss);
}

TEST(MarkCodecTest, RefusesMarksThatCannotBe) {
  EXPECT_OK(CheckMark(MakeMark("t", 9)));
  EXPECT_FALSE(CheckMark(MakeMark("", 9)).ok());
  EXPECT_FALSE(CheckMark(MakeMark(std::string(129, 't'), 9)).ok());
  Mark beyond = MakeMark("t", 9);
  beyond.failures.push_back({10, 3});
  EXPECT_FALSE(CheckMark(beyond).ok());
  Mark unsorted = MakeMark("t", 9);
  std::swap(unsorted.failures[0], unsorted.failures[1]);
  EXPECT_FALSE(CheckMark(unsorted).ok());
  Mark many = MakeMark("t", 9000);
  many.failures.clear();
  for (uint64_t i = 1; i <= Mark::kMaxFailures + 1; ++i) many.failures.push_back({i, 3});
  EXPECT_FALSE(CheckMark(many).ok());
}

class MarkTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    ASSERT_OK(Open());
    const auto uid = store_->AddCollection(MakeRecord("demo"));
    ASSERT_OK(uid);
    uid_ = *uid;
    OpenLogs();
  }
  void OpenLogs() {
    for (uint32_t shard = 0; shard < 2; ++shard) {
      auto log = store_->OpenShard(uid_, shard, kDimension);
      ASSERT_OK(log);
      logs_[shard] = *std::move(log);
    }
  }
  void TearDown() override {
    for (auto& log : logs_) log = nullptr;
    StoreFixture::TearDown();
  }
  void Reopen() {
    for (auto& log : logs_) log = nullptr;
    store_ = nullptr;
    ASSERT_OK(Open());
    OpenLogs();
  }
  std::string Tokens(uint32_t shard) {
    const auto marks = logs_[shard]->GetMarks();
    EXPECT_OK(marks);
    std::string tokens;
    if (!marks.ok()) return tokens;
    for (const Mark& mark : *marks) {
      tokens += mark.token + "=" + std::to_string(mark.through) + " ";
    }
    return tokens;
  }

  uint32_t uid_ = 0;
  std::unique_ptr<ShardLog> logs_[2];
};

TEST_F(MarkTest, ComeWithTheirMutationsOrAlone) {
  ASSERT_OK(logs_[0]->Append(std::vector<Mutation>{Put(1, "a")},
                             std::vector<Mark>{MakeMark("x", 5), MakeMark("y", 6)}));
  ASSERT_OK(logs_[1]->Append({}, std::vector<Mark>{MakeMark("x", 7)}));
  EXPECT_EQ(logs_[1]->LastSequence(), 0u);
  ASSERT_OK(
      logs_[0]->Append(std::vector<Mutation>{Put(2, "b")}, std::vector<Mark>{MakeMark("x", 8)}));
  Reopen();
  EXPECT_EQ(Tokens(0), "x=8 y=6 ");
  EXPECT_EQ(Tokens(1), "x=7 ");
  EXPECT_EQ(logs_[0]->LastSequence(), 2u);
  EXPECT_EQ((*logs_[0]->GetMarks())[0].failures, MakeMark("x", 8).failures);
}

TEST_F(MarkTest, AreNotThereWhenTheAppendIsRefused) {
  EXPECT_FALSE(logs_[0]
                   ->Append(std::vector<Mutation>{Put(7, "a")},  // a wrong number
                            std::vector<Mark>{MakeMark("x", 5)})
                   .ok());
  EXPECT_FALSE(logs_[0]
                   ->Append(std::vector<Mutation>{Put(1, "a")}, std::vector<Mark>{MakeMark("", 5)})
                   .ok());
  EXPECT_EQ(Tokens(0), "");
  EXPECT_EQ(Current(*logs_[0], "a"), 0u);
}

TEST_F(MarkTest, DroppingOneTakesItFromAllShardsAndNoOther) {
  for (auto& log : logs_) {
    ASSERT_OK(log->Append({}, std::vector<Mark>{MakeMark("x", 5), MakeMark("xy", 6)}));
  }
  ASSERT_OK(store_->DropMark(uid_, "x"));
  ASSERT_OK(store_->DropMark(uid_, "nobody's"));
  EXPECT_EQ(store_->DropMark(uid_ + 1, "x").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Tokens(0), "xy=6 ");
  Reopen();
  EXPECT_EQ(Tokens(1), "xy=6 ");
}

TEST_F(MarkTest, GoWithTheCollection) {
  ASSERT_OK(logs_[0]->Append({}, std::vector<Mark>{MakeMark("x", 5)}));
  ASSERT_OK(store_->DropCollection(uid_));
  EXPECT_EQ(Tokens(0), "");
  for (auto& log : logs_) log = nullptr;
  store_ = nullptr;
  const auto raw = OpenRaw();
  const std::unique_ptr<rocksdb::Iterator> it(raw->db->NewIterator({}, (*raw)[Family::kMeta]));
  const std::string prefix = MetaKey(MetaKind::kMark);
  it->Seek(prefix);
  EXPECT_FALSE(it->Valid() && it->key().starts_with(prefix));
}

TEST_F(MarkTest, DamageIsNamed) {
  ASSERT_OK(logs_[0]->Append({}, std::vector<Mark>{MakeMark("x", 5)}));
  for (auto& log : logs_) log = nullptr;
  store_ = nullptr;
  ASSERT_TRUE(OpenRaw()->db->Put({}, MarkKey(uid_, 0, "x"), "\x01").ok());
  ASSERT_OK(Open());
  OpenLogs();
  const absl::Status status = logs_[0]->GetMarks().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("column family meta"));
}

}  // namespace
}  // namespace vecino::storage
