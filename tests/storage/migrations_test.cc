// The hidden sides of collections: what they refuse, how they change places, and that they survive.
#include "absl/status/status.h"
#include "storage/records.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class MigrationsTest : public StoreFixture {
 protected:
  static constexpr std::string_view kFollower =
      "\xff"
      "f";

  void SetUp() override {
    StoreFixture::SetUp();
    ASSERT_OK(Open());
    const auto uid = store_->AddCollection(MakeRecord("a"));
    ASSERT_OK(uid);
    uid_ = *uid;
  }
  static MigrationRecord Side(uint32_t uid, uint64_t range, std::string bytes = "B") {
    MigrationRecord record;
    record.uid = uid;
    record.last_range = range;
    record.other = MakeRecord("a");
    record.other->model = "new";
    record.bytes = std::move(bytes);
    return record;
  }
  std::unique_ptr<ShardLog> Shard(uint32_t uid, uint32_t number = 0) {
    auto log = store_->OpenShard(uid, number, kDimension);
    EXPECT_OK(log);
    return log.ok() ? *std::move(log) : nullptr;
  }
  // "uid range hidden-uid bytes", by uid.
  std::string Migrations() {
    const auto records = store_->ListMigrations();
    EXPECT_OK(records);
    std::string text;
    for (const MigrationRecord& record : *records) {
      text += std::to_string(record.uid) + " " + std::to_string(record.last_range) + " " +
              std::to_string(record.other.has_value() ? record.other->uid : 0) + " " +
              record.bytes + "; ";
    }
    return text;
  }
  void Reopen() {
    store_.reset();
    ASSERT_OK(Open());
  }

  uint32_t uid_ = 0;
};

TEST_F(MigrationsTest, TheHiddenSideHasNumbersOfItsOwn) {
  const auto hidden = store_->AddMigration(Side(uid_, 1), "M");
  ASSERT_OK(hidden);
  EXPECT_EQ(store_->ListCollections()->size(), 1u) << "it is not listed";
  EXPECT_EQ(store_->AddMigration(Side(uid_, 2), "").status().code(),
            absl::StatusCode::kFailedPrecondition);
  {
    const auto log = Shard(*hidden);
    EXPECT_EQ(log->LastSequence(), FirstOfRange(1));
    EXPECT_EQ(*log->GetManifest(), "M");
    ASSERT_OK(log->Append(std::vector<Mutation>{Put(FirstOfRange(1) + 1, "x")}));
  }
  ASSERT_OK(store_->PutMigration(uid_, "C"));
  Reopen();
  EXPECT_EQ(Migrations(), "1 1 2 C; ");
  EXPECT_EQ(Shard(*hidden)->LastSequence(), FirstOfRange(1) + 1);
  ASSERT_OK(store_->EndMigration(uid_));
  ASSERT_OK(store_->EndMigration(uid_));
  EXPECT_EQ(store_->OpenShard(*hidden, 0, kDimension).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->PutMigration(uid_, "").code(), absl::StatusCode::kNotFound);
  Reopen();
  EXPECT_EQ(Migrations(), "1 1 0 ; ") << "a range is not given out twice";
  EXPECT_EQ(store_->AddMigration(Side(uid_, 1), "").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->AddMigration(Side(uid_, kMaxRange + 1), "").status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto next = store_->AddMigration(Side(uid_, 2), "");
  ASSERT_OK(next);
  EXPECT_EQ(*next, 3u);
  EXPECT_EQ(store_->AddMigration(Side(9, 1), "").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(MigrationsTest, BothSidesAreIndexedAlike) {
  const auto hidden = store_->AddMigration(Side(uid_, 1), "M");
  ASSERT_OK(hidden);
  const StoredIndex index = {
      .kind = StoredIndexKind::kAuto, .recall_millionths = 800'000, .no_graph = true};
  ASSERT_OK(store_->PutIndex(uid_, index));
  EXPECT_EQ(store_->PutIndex(*hidden, index).code(), absl::StatusCode::kNotFound);
  Reopen();
  EXPECT_EQ(store_->ListCollections()->front().index, index);
  const auto migrations = store_->ListMigrations();
  ASSERT_OK(migrations);
  ASSERT_TRUE(migrations->front().other.has_value());
  EXPECT_EQ(migrations->front().other->index, index);
  EXPECT_EQ(migrations->front().other->model, "new");
  EXPECT_EQ(Migrations(), "1 1 2 B; ");
}

TEST_F(MigrationsTest, TheSidesChangePlacesWithAllThatNamesThem) {
  const auto hidden = store_->AddMigration(Side(uid_, 1), "");
  ASSERT_OK(hidden);
  ASSERT_OK(store_->PutAlias({.id = "x", .uid = uid_, .create_time_us = 1, .update_time_us = 2}));
  ASSERT_OK(store_->PutOperation({.uid = uid_, .number = 5, .bytes = "O"}));
  Mark mark;
  mark.token = "load";
  mark.through = 7;
  Mark stale;
  stale.token = "stale";
  stale.through = 3;
  Mark follower;
  follower.token = std::string(kFollower);
  follower.through = 1;
  ASSERT_OK(Shard(uid_)->Append({}, std::vector<Mark>{mark}));
  ASSERT_OK(Shard(*hidden)->Append({}, std::vector<Mark>{stale, follower}));
  EXPECT_EQ(store_->SwitchMigration(uid_, "S", kFollower, std::vector<uint64_t>{1}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->SwitchMigration(*hidden, "S", kFollower, std::vector<uint64_t>{1, 2}).code(),
            absl::StatusCode::kNotFound);
  ASSERT_OK(store_->SwitchMigration(uid_, "S", kFollower, std::vector<uint64_t>{11, 12}));
  for (const bool reopened : {false, true}) {
    if (reopened) Reopen();
    EXPECT_EQ(Migrations(), "2 1 1 S; ");
    const auto collections = store_->ListCollections();
    ASSERT_EQ(collections->size(), 1u);
    EXPECT_EQ((*collections)[0].uid, *hidden);
    EXPECT_EQ((*collections)[0].model, "new");
    EXPECT_EQ((*store_->ListAliases())[0].uid, *hidden);
    EXPECT_EQ((*store_->ListAliases())[0].update_time_us, 2);
    const auto operations = store_->ListOperations();
    ASSERT_EQ(operations->size(), 1u);
    EXPECT_EQ((*operations)[0].uid, *hidden);
    EXPECT_EQ((*operations)[0].bytes, "O");
    const auto marks = Shard(*hidden)->GetMarks();
    ASSERT_EQ(marks->size(), 1u) << "those of the side it took the place of";
    EXPECT_EQ((*marks)[0].token, "load");
    EXPECT_EQ((*marks)[0].through, 7u);
    for (uint32_t shard = 0; shard < 2; ++shard) {
      const auto old = Shard(uid_, shard)->GetMarks();
      ASSERT_FALSE(old->empty());
      EXPECT_EQ(old->back().token, kFollower);
      EXPECT_EQ(old->back().through, 11u + shard);
    }
  }
  ASSERT_OK(store_->DropMark(*hidden, "load"));
  ASSERT_OK(store_->SwitchMigration(*hidden, "T", kFollower, std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(Migrations(), "1 1 2 T; ");
  EXPECT_EQ((*store_->ListCollections())[0].uid, uid_);
  EXPECT_EQ((*store_->ListCollections())[0].model, "");
}

TEST_F(MigrationsTest, BothSidesAreDroppedTogether) {
  const auto hidden = store_->AddMigration(Side(uid_, 1), "");
  ASSERT_OK(hidden);
  auto open = Shard(*hidden);
  ASSERT_OK(open->Append(std::vector<Mutation>{Put(FirstOfRange(1) + 1, "x")}));
  ASSERT_OK(store_->DropCollection(uid_));
  EXPECT_EQ(open->Append(std::vector<Mutation>{Put(FirstOfRange(1) + 2, "y")}).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Migrations(), "");
  open.reset();
  Reopen();
  EXPECT_EQ(Migrations(), "");
  store_.reset();
  const auto raw = OpenRaw();
  for (const Family family : {Family::kDocuments, Family::kIds, Family::kChanges}) {
    std::unique_ptr<rocksdb::Iterator> it(raw->db->NewIterator({}, (*raw)[family]));
    it->SeekToFirst();
    EXPECT_FALSE(it->Valid()) << ToHex(it->Valid() ? it->key().ToString() : "");
  }
}

TEST_F(MigrationsTest, WhatCannotBeIsDamage) {
  ASSERT_OK(store_->AddMigration(Side(uid_, 1), ""));
  store_.reset();
  const auto damage = [&](const MigrationRecord& record, const std::string& more = "") {
    {
      const auto raw = OpenRaw();
      EXPECT_TRUE(raw->db
                      ->Put({}, (*raw)[Family::kMeta], MetaKey(MetaKind::kMigration, uid_),
                            EncodeMigration(record) + more)
                      .ok());
    }
    const absl::Status status = Open();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("meta"));
  };
  MigrationRecord record = Side(uid_, 1);
  record.other->uid = uid_;
  damage(record);
  record.other->uid = 9;  // was never given out
  damage(record);
  record.other->uid = 2;
  record.other->id = "b";
  damage(record);
  record = Side(uid_, 0);
  damage(record);
  const std::string bytes = EncodeMigration(Side(uid_, 1, ""));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeMigration(uid_, bytes.substr(0, size)).ok()) << size;
  }
}

TEST_F(MigrationsTest, ChangesAreListedWithTheirIds) {
  const auto log = Shard(uid_);
  ASSERT_OK(log->Append(
      std::vector<Mutation>{Put(1, "a"), Put(2, "b"), Delete(3, "a", 1), Put(4, "b", 2)}));
  const auto all = log->ListChanges(1, 10);
  ASSERT_OK(all);
  std::vector<std::string> seen;
  for (const NamedChange& change : *all) {
    seen.push_back(std::to_string(change.sequence) + change.id +
                   (change.kind == Mutation::Kind::kPut ? "+" : "-"));
  }
  EXPECT_THAT(seen, ElementsAre("2b+", "3a-", "4b+"));
  EXPECT_EQ(log->ListChanges(0, 2)->size(), 2u);
  EXPECT_TRUE(log->ListChanges(4, 10)->empty());
  EXPECT_TRUE(log->ListChanges(9, 10)->empty());
  ASSERT_OK(log->TrimChanges(2));
  EXPECT_EQ(log->ListChanges(1, 10).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(log->ListChanges(2, 10)->size(), 2u);
}

}  // namespace
}  // namespace vecino::storage
