#include "storage/local_log.h"

#include "absl/status/status.h"
#include "storage/records.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

using testing::HasSubstr;

class LocalLogTest : public StoreFixture {
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
  void Close() {
    log_.reset();
    store_.reset();
  }
  absl::Status Append(std::vector<Mutation> mutations) { return log_->Append(mutations); }

  struct Replayed {
    uint64_t sequence;
    Mutation::Kind kind;
    uint64_t replaces;
    bool live;
    bool operator==(const Replayed&) const = default;
  };
  absl::StatusOr<std::vector<Replayed>> Replay(uint64_t after) const {
    std::vector<Replayed> replayed;
    absl::Status status = log_->ReplayChanges(after, [&](const Change& change,
                                                         std::span<const float> vector) {
      if (!vector.empty()) {
        EXPECT_EQ(std::vector<float>(vector.begin(), vector.end()), MakeVector(change.sequence));
      }
      replayed.push_back({change.sequence, change.kind, change.replaces, !vector.empty()});
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return replayed;
  }

  static constexpr auto kPut = Mutation::Kind::kPut;
  static constexpr auto kDelete = Mutation::Kind::kDelete;
  uint32_t uid_ = 0;
  std::unique_ptr<ShardLog> log_;
};

TEST_F(LocalLogTest, EmptyShard) {
  EXPECT_EQ(log_->LastSequence(), 0u);
  EXPECT_EQ(Current(*log_, "a"), 0u);
  EXPECT_TRUE(Scan(*log_).empty());
  EXPECT_TRUE(Replay(0)->empty());
  EXPECT_EQ(*log_->CountIds(), 0u);
  EXPECT_EQ(*log_->GetManifest(), "");
  EXPECT_TRUE(log_->FindIds({})->empty());
  EXPECT_TRUE(log_->GetDocuments({}, {})->empty());
  EXPECT_OK(Append({}));
  EXPECT_OK(log_->TrimChanges(5));
}

TEST_F(LocalLogTest, WritesAreReadBackBeforeAndAfterReopening) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b")}));
  ASSERT_OK(Append({Put(3, "c")}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(log_->LastSequence(), 3u);
    const auto documents = log_->GetDocuments(std::vector<uint64_t>{3, 99, 1, 1}, {.vector = true});
    ASSERT_OK(documents);
    ASSERT_EQ(documents->size(), 4u);
    EXPECT_FALSE((*documents)[1].has_value());
    const Document& first = *(*documents)[2];
    EXPECT_EQ(first.id, "a");
    EXPECT_EQ(first.text, "text of 1");
    EXPECT_EQ(first.metadata, R"({"n":1})");
    EXPECT_EQ(first.vector, MakeVector(1));
    EXPECT_EQ(first.sequence, 1u);
    EXPECT_EQ(first.create_time_us, 1000);
    EXPECT_EQ(first.update_time_us, 1001);
    EXPECT_EQ((*documents)[0]->id, "c");
    EXPECT_EQ((*documents)[3]->id, "a");
    const auto bare =
        log_->GetDocuments(std::vector<uint64_t>{2}, {.text = false, .metadata = false});
    ASSERT_OK(bare);
    EXPECT_EQ((*bare)[0]->id, "b");
    EXPECT_EQ((*bare)[0]->text + (*bare)[0]->metadata, "");
    EXPECT_TRUE((*bare)[0]->vector.empty());
    const std::vector<std::string_view> ids = {"c", "nobody", "a"};
    const auto found = log_->FindIds(ids);
    ASSERT_OK(found);
    EXPECT_EQ((*found)[0]->sequence, 3u);
    EXPECT_FALSE((*found)[1].has_value());
    EXPECT_EQ((*found)[2]->create_time_us, 1000);
    EXPECT_EQ(*log_->CountIds(), 3u);
    EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1, 2, 3}));
    EXPECT_EQ(Scan(*log_, 1, 2), (std::vector<uint64_t>{2}));
    EXPECT_TRUE(Scan(*log_, 2, 2).empty());
    Reopen();
  }
}

TEST_F(LocalLogTest, ReplaceAndDeleteRemoveTheOldVersion) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b")}));
  ASSERT_OK(Append({Put(3, "a", 1)}));
  ASSERT_OK(Append({Delete(4, "b", 2)}));
  ASSERT_OK(Append({Delete(5, "nobody", 0)}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Current(*log_, "a"), 3u);
    EXPECT_EQ(Current(*log_, "b"), 0u);
    EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{3}));
    EXPECT_EQ(*log_->CountIds(), 1u);
    const auto documents = log_->GetDocuments(std::vector<uint64_t>{1, 2, 3}, {});
    ASSERT_OK(documents);
    EXPECT_FALSE((*documents)[0].has_value());
    EXPECT_FALSE((*documents)[1].has_value());
    EXPECT_TRUE((*documents)[2].has_value());
    EXPECT_EQ(*Replay(0), (std::vector<Replayed>{{1, kPut, 0, false},
                                                 {2, kPut, 0, false},
                                                 {3, kPut, 1, true},
                                                 {4, kDelete, 2, false},
                                                 {5, kDelete, 0, false}}));
    Reopen();
  }
}

TEST_F(LocalLogTest, SameIdTwiceInOneBatch) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "a", 1), Put(3, "b"), Delete(4, "b", 3), Put(5, "c"),
                    Delete(6, "c", 5), Put(7, "c")}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Current(*log_, "a"), 2u);
    EXPECT_EQ(Current(*log_, "b"), 0u);
    EXPECT_EQ(Current(*log_, "c"), 7u);
    EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{2, 7}));
    EXPECT_EQ(Replay(0)->size(), 7u);
    Reopen();
  }
}

TEST_F(LocalLogTest, BadAppendsChangeNothing) {
  ASSERT_OK(Append({Put(1, "a")}));
  Mutation wrong_dimension = Put(3, "c");
  wrong_dimension.document.vector.push_back(1);
  const std::vector<std::vector<Mutation>> bad = {
      {Put(3, "b")},                                // a hole
      {Put(1, "b")},                                // used
      {Put(2, "b"), Put(4, "c")},                   // a hole inside
      {Put(2, "b"), wrong_dimension},               //
      {Put(2, "")},                                 //
      {Put(2, std::string(kMaxIdBytes + 1, 'x'))},  //
      {Put(2, "b", 2)},                             // replaces itself
  };
  for (const auto& mutations : bad) {
    EXPECT_EQ(Append(mutations).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(log_->LastSequence(), 1u);
  EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1}));
  EXPECT_OK(Append({Put(2, std::string(kMaxIdBytes, 'x'))}));
}

TEST_F(LocalLogTest, ShardsAndCollectionsAreApart) {
  const auto other_uid = store_->AddCollection(MakeRecord("other"));
  ASSERT_OK(other_uid);
  const auto other_shard = store_->OpenShard(uid_, 1, kDimension);
  const auto other_collection = store_->OpenShard(*other_uid, 0, kDimension);
  ASSERT_OK(other_shard);
  ASSERT_OK(other_collection);
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b")}));
  ASSERT_OK((*other_shard)->Append(std::vector<Mutation>{Put(1, "a")}));
  ASSERT_OK((*other_collection)->PutManifest("theirs"));
  ASSERT_OK(log_->PutManifest("ours"));
  EXPECT_EQ(Scan(**other_shard), (std::vector<uint64_t>{1}));
  EXPECT_TRUE(Scan(**other_collection).empty());
  EXPECT_EQ(*(*other_shard)->CountIds(), 1u);
  EXPECT_EQ((*other_shard)->ListIds("", 10)->size(), 1u);
  EXPECT_EQ((*other_collection)->LastSequence(), 0u);
  EXPECT_EQ(*log_->GetManifest(), "ours");
  EXPECT_EQ(*(*other_shard)->GetManifest(), "");
}

TEST_F(LocalLogTest, ListIdsPagesInByteOrder) {
  const std::vector<std::string> ids = {"b", "a", "\xff\xff", "ab", std::string("a\0b", 3)};
  std::vector<Mutation> mutations;
  for (const std::string& id : ids) mutations.push_back(Put(mutations.size() + 1, id));
  ASSERT_OK(Append(mutations));
  std::vector<std::string> listed;
  while (true) {
    const auto page = log_->ListIds(listed.empty() ? "" : listed.back(), 2);
    ASSERT_OK(page);
    if (page->empty()) break;
    EXPECT_LE(page->size(), 2u);
    for (const auto& [id, entry] : *page) {
      listed.push_back(id);
      EXPECT_EQ(ids[entry.sequence - 1], id);
    }
  }
  EXPECT_EQ(listed, (std::vector<std::string>{"a", std::string("a\0b", 3), "ab", "b", "\xff\xff"}));
  EXPECT_TRUE(log_->ListIds("", 0)->empty());
  EXPECT_EQ(log_->ListIds("aa", 10)->front().first, "ab");
}

TEST_F(LocalLogTest, TrimmedChangesAreAHoleForReplayAndNothingElseIsLost) {
  for (uint64_t sequence = 1; sequence <= 10; ++sequence) {
    ASSERT_OK(Append({Put(sequence, "id" + std::to_string(sequence))}));
  }
  ASSERT_OK(log_->TrimChanges(3));
  ASSERT_OK(log_->TrimChanges(2));
  ASSERT_OK(log_->TrimChanges(6));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Replay(6)->size(), 4u);
    EXPECT_EQ(Replay(8)->front().sequence, 9u);
    const absl::Status status = Replay(5).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr("change record 6"));
    EXPECT_EQ(Scan(*log_).size(), 10u);
    Reopen();
  }
  ASSERT_OK(log_->TrimChanges(100));
  EXPECT_TRUE(Replay(10)->empty());
  EXPECT_EQ(Replay(9).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Replay(11).status().code(), absl::StatusCode::kDataLoss);
  Reopen();
  EXPECT_EQ(log_->LastSequence(), 10u);  // not derived from the changes
  ASSERT_OK(Append({Put(11, "next")}));
  EXPECT_EQ(Replay(10)->size(), 1u);
}

TEST_F(LocalLogTest, MissingChangeRecordIsDataLoss) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b"), Put(3, "c")}));
  for (const uint64_t hole : {2, 3}) {
    Close();
    ASSERT_TRUE([&] {
      const auto raw = OpenRaw();
      return raw->db->Delete({}, (*raw)[Family::kChanges], SequenceKey(uid_, 0, hole)).ok();
    }());
    ASSERT_OK(Open());
    OpenLog();
    const absl::Status status = Replay(hole - 1).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr("column family changes, key 01"));
    if (hole == 2) {
      EXPECT_EQ(Replay(2)->size(), 1u);
    }
  }
}

TEST_F(LocalLogTest, DamagedRowsAreDataLossNamingTheKey) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b")}));
  Close();
  {
    const auto raw = OpenRaw();
    ASSERT_TRUE(raw->db->Put({}, (*raw)[Family::kDocuments], SequenceKey(uid_, 0, 1), "\x04").ok());
    ASSERT_TRUE(raw->db->Delete({}, (*raw)[Family::kVectors], SequenceKey(uid_, 0, 2)).ok());
    ASSERT_TRUE(raw->db->Put({}, (*raw)[Family::kIds], IdKey(uid_, 0, "a"), "").ok());
  }
  ASSERT_OK(Open());
  OpenLog();
  const absl::Status document = log_->GetDocuments(std::vector<uint64_t>{1}, {}).status();
  EXPECT_EQ(document.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(document.message(),
              HasSubstr("column family documents, key 010000000100000000000000000001: value has "
                        "version 4"));
  const absl::Status vector =
      log_->GetDocuments(std::vector<uint64_t>{2}, {.vector = true}).status();
  EXPECT_EQ(vector.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(vector.message(), HasSubstr("column family vectors"));
  EXPECT_EQ(log_->FindIds(std::vector<std::string_view>{"a"}).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(log_->ListIds("", 9).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LocalLogTest, RowBeyondTheLastSequenceNumberStopsTheOpening) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b")}));
  Close();
  ASSERT_TRUE(
      OpenRaw()->db->Put({}, MetaKey(MetaKind::kShardState, uid_, 0), EncodeNumber(1)).ok());
  ASSERT_OK(Open());
  const auto log = store_->OpenShard(uid_, 0, kDimension);
  EXPECT_EQ(log.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(log.status().message(), HasSubstr("beyond its last sequence number 1"));
}

TEST_F(LocalLogTest, ErrorsOfCallbacksStopAndArePassedOn) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b")}));
  int calls = 0;
  const auto stop = [&] {
    ++calls;
    return absl::CancelledError("enough");
  };
  EXPECT_EQ(
      log_->ScanVectors(0, 9, [&](uint64_t, std::span<const float>) { return stop(); }).code(),
      absl::StatusCode::kCancelled);
  EXPECT_EQ(
      log_->ReplayChanges(0, [&](const Change&, std::span<const float>) { return stop(); }).code(),
      absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 2);
}

TEST_F(LocalLogTest, ScanSeesOneMomentWhileWritesGoOn) {
  ASSERT_OK(Append({Put(1, "a"), Put(2, "b")}));
  std::vector<uint64_t> seen;
  ASSERT_OK(log_->ScanVectors(0, 100, [&](uint64_t sequence, std::span<const float>) {
    seen.push_back(sequence);
    const uint64_t next = log_->LastSequence() + 1;
    return seen.size() == 1 ? Append({Delete(next, "b", 2), Put(next + 1, "c")}) : absl::OkStatus();
  }));
  EXPECT_EQ(seen, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(Scan(*log_), (std::vector<uint64_t>{1, 4}));
}

TEST_F(LocalLogTest, ManifestIsReplacedAndMayHoldAnyBytes) {
  const std::string bytes("\0\xff\x01", 3);
  ASSERT_OK(log_->PutManifest("old"));
  ASSERT_OK(log_->PutManifest(bytes));
  EXPECT_EQ(*log_->GetManifest(), bytes);
  Reopen();
  EXPECT_EQ(*log_->GetManifest(), bytes);
}

TEST_F(LocalLogTest, DocumentsOfSeveralPassages) {
  CollectionRecord record = MakeRecord("chunked");
  record.chunk_tokens = 64;
  const auto uid = store_->AddCollection(record);
  ASSERT_OK(uid);
  std::vector<float> vectors;
  for (uint64_t i = 1; i <= 3; ++i) {
    const std::vector<float> one = MakeVector(i);
    vectors.insert(vectors.end(), one.begin(), one.end());
  }
  Mutation put;
  put.sequence = 1;
  put.id = "a";
  put.document.text = "One. Two. Three.";
  put.document.vector = vectors;
  put.document.passages = {{0, 5}, {5, 10}, {10, 16}};
  // Elsewhere a document has one.
  EXPECT_EQ(Append({put}).code(), absl::StatusCode::kInvalidArgument);
  for (const bool reopened : {false, true}) {
    if (reopened) Reopen();
    const auto log = store_->OpenShard(*uid, 0, kDimension);
    ASSERT_OK(log);
    if (!reopened) {
      Mutation wrong = put;
      wrong.document.passages.pop_back();
      EXPECT_EQ((*log)->Append(std::vector{wrong}).code(), absl::StatusCode::kInvalidArgument);
      ASSERT_OK((*log)->Append(std::vector{put}));
    }
    const uint64_t sequence = 1;
    const auto read = (*log)->GetDocuments({&sequence, 1}, {.vector = true});
    ASSERT_OK(read);
    EXPECT_EQ(read->front()->vector, vectors);
    EXPECT_EQ(read->front()->passages, put.document.passages);
    size_t floats = 0;
    ASSERT_OK((*log)->ScanVectors(0, 9, [&](uint64_t, std::span<const float> vector) {
      floats += vector.size();
      return absl::OkStatus();
    }));
    ASSERT_OK((*log)->ReplayChanges(0, [&](const Change&, std::span<const float> vector) {
      floats += vector.size();
      return absl::OkStatus();
    }));
    EXPECT_EQ(floats, 2 * vectors.size());
  }
}

}  // namespace
}  // namespace vecino::storage
