// Reading at a moment that has passed.
#include "absl/status/status.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

class SnapshotTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    ASSERT_OK(Open());
    uid_ = *store_->AddCollection(MakeRecord("c", 1));
    auto log = store_->OpenShard(uid_, 0, kDimension);
    ASSERT_OK(log);
    log_ = *std::move(log);
  }
  void TearDown() override {
    log_.reset();
    StoreFixture::TearDown();
  }
  void Append(std::vector<Mutation> mutations) { ASSERT_OK(log_->Append(mutations)); }
  // "id=text;" of each document at the moment, read `step` ids at a time.
  std::string All(const Snapshot& snapshot, size_t step) {
    std::string all, after;
    while (true) {
      const auto ids = log_->ListIdsAt(snapshot, after, step);
      EXPECT_OK(ids);
      if (!ids.ok() || ids->empty()) return all;
      for (const auto& [id, entry] : *ids) {
        const auto documents = log_->GetDocumentsAt(
            snapshot, {&entry.sequence, 1}, {.text = true, .metadata = false, .vector = true});
        EXPECT_OK(documents);
        if (!documents.ok() || !(*documents)[0].has_value()) return all + "?";
        EXPECT_EQ((*documents)[0]->vector, MakeVector(entry.sequence));
        EXPECT_EQ((*documents)[0]->metadata, "");
        all += id + "=" + (*documents)[0]->text + ";";
      }
      after = ids->back().first;
    }
  }

  uint32_t uid_ = 0;
  std::unique_ptr<ShardLog> log_;
};

TEST_F(SnapshotTest, WhatComesLaterIsNotSeenAndWhatGoesStays) {
  Append({Put(1, "a"), Put(2, "b"), Put(3, std::string("\x01\xff", 2))});
  const auto before = store_->TakeSnapshot();
  Append({Put(4, "a", 1), Delete(5, "b", 2), Put(6, "c")});
  const auto after = store_->TakeSnapshot();
  ASSERT_OK(store_->Flush());
  for (const size_t step : {1, 2, 100}) {
    EXPECT_EQ(All(*before, step), "\x01\xff=text of 3;a=text of 1;b=text of 2;");
    EXPECT_EQ(All(*after, step), "\x01\xff=text of 3;a=text of 4;c=text of 6;");
  }
}

TEST_F(SnapshotTest, ADroppedCollectionIsNotFoundAndNeverHalf) {
  Append({Put(1, "a"), Put(2, "b")});
  ASSERT_OK(store_->Flush());
  const auto snapshot = store_->TakeSnapshot();
  ASSERT_OK(store_->DropCollection(uid_));
  EXPECT_EQ(log_->ListIdsAt(*snapshot, "", 10).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log_->ListIds("", 10).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log_->FindIds(std::vector<std::string_view>{"a"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(log_->GetDocuments(std::vector<uint64_t>{1}, {}).status().code(),
            absl::StatusCode::kNotFound);
  const uint64_t sequence = 1;
  EXPECT_EQ(log_->GetDocumentsAt(*snapshot, {&sequence, 1}, {}).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace vecino::storage
