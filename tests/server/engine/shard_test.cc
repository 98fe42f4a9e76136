#include "server/engine/shard.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "absl/time/clock.h"
#include "server/engine/manifest.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/memory_store.h"

namespace vecino::engine {
namespace {

class ShardTest : public testing::Test {
 protected:
  void SetUp() override { Load(); }

  void Load() {
    shard_.reset();
    auto log = store_.OpenShard(1, 0, 1);
    auto shard = Shard::Load({.collection = "c", .dimension = 1, .tail_capacity = 4},
                             *std::move(log), &metrics_);
    ASSERT_TRUE(shard.ok()) << shard.status();
    shard_ = *std::move(shard);
  }

  WriteResult Write(storage::Mutation::Kind kind, const std::string& id, float x) {
    ShardWrite write;
    write.kind = kind;
    write.document.id = id;
    write.document.vector = {x};
    shard_->Write({&write, 1}, {});
    return write.result;
  }
  WriteResult Put(const std::string& id, float x) {
    return Write(storage::Mutation::Kind::kPut, id, x);
  }
  WriteResult Delete(const std::string& id) {
    return Write(storage::Mutation::Kind::kDelete, id, 0);
  }

  // Scores of everything, best first.
  std::vector<float> All() {
    const float one = 1;
    const auto hits = shard_->Search(&one, {.k = 1000}, [] { return absl::OkStatus(); });
    std::vector<float> scores;
    for (const auto& hit : *hits) scores.push_back(hit.score);
    return scores;
  }
  void MaintainFully() {
    for (;;) {
      const auto worked = shard_->Maintain({});
      ASSERT_TRUE(worked.ok()) << worked.status();
      if (!worked->worked) return;
    }
  }
  MemoryStore::Shard& stored() { return *store_.shard(1, 0); }

  MemoryStore store_;
  FakeMetrics fake_metrics_;
  EngineMetrics metrics_{&fake_metrics_};
  std::shared_ptr<Shard> shard_;
};

TEST_F(ShardTest, ConcurrentWritersShareOneSync) {
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future().share();
  std::promise<void> first_in;
  bool first = true;
  store_.after_append = [&] {
    if (!std::exchange(first, false)) return;
    first_in.set_value();
    gate.wait();
  };
  std::thread leader([&] { EXPECT_TRUE(Put("leader", 1).status.ok()); });
  first_in.get_future().wait();
  std::vector<std::thread> writers;
  for (int i = 0; i < 16; ++i) {
    writers.emplace_back([&, i] { EXPECT_TRUE(Put(std::to_string(i), 1).status.ok()); });
  }
  while (shard_->WaitingCalls() < 16) std::this_thread::yield();
  go.set_value();
  leader.join();
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(stored().appends, (std::vector<size_t>{1, 16}));
  EXPECT_EQ(shard_->LiveDocuments(), 17);
}

TEST_F(ShardTest, ReplayGivesTheSameStateHoweverOften) {
  for (int i = 0; i < 50; ++i) Put(std::to_string(i % 13), static_cast<float>(i));
  for (int i = 0; i < 13; i += 2) Delete(std::to_string(i));
  const std::vector<float> before = All();
  EXPECT_EQ(before.size(), 6u);
  for (int i = 0; i < 3; ++i) {
    Load();
    EXPECT_EQ(All(), before);
    EXPECT_EQ(shard_->LiveDocuments(), 6);
    EXPECT_EQ(shard_->Stats().last_sequence, 57u);
  }
  MaintainFully();
  EXPECT_EQ(All(), before);
  Load();
  EXPECT_EQ(All(), before);
}

TEST_F(ShardTest, TellsHowLongFullTailsWait) {
  for (int i = 0; i < 4; ++i) Put(std::to_string(i), static_cast<float>(i));
  EXPECT_EQ(shard_->Stats().waiting_tails, 0);
  EXPECT_EQ(shard_->Stats().index_lag, absl::ZeroDuration());
  for (int i = 4; i < 9; ++i) Put(std::to_string(i), static_cast<float>(i));
  EXPECT_EQ(shard_->Stats().waiting_tails, 2);
  const absl::Duration lag = shard_->Stats().index_lag;
  EXPECT_GT(lag, absl::ZeroDuration());
  absl::SleepFor(absl::Milliseconds(2));
  EXPECT_GE(shard_->Stats().index_lag, lag + absl::Milliseconds(2));
  MaintainFully();
  EXPECT_EQ(shard_->Stats().waiting_tails, 0);
  EXPECT_EQ(shard_->Stats().index_lag, absl::ZeroDuration());
}

TEST_F(ShardTest, MaintenanceDrainsMergesAndTrims) {
  for (int i = 0; i < 400; ++i) {
    Put(std::to_string(i), static_cast<float>(i));
    if (i % 40 == 39 && i < 399) MaintainFully();  // a segment each, more than may stay
  }
  EXPECT_TRUE(shard_->MaintenanceDue());
  MaintainFully();
  EXPECT_FALSE(shard_->MaintenanceDue());
  ShardStats stats = shard_->Stats();
  EXPECT_LE(stats.segments, 8);
  EXPECT_LE(stats.tail_rows, 4);
  EXPECT_EQ(stats.live_documents, 400);
  const auto manifest = DecodeManifest(stored().manifest);
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->drained_through, 400u);  // so long a log is trimmed to the end
  EXPECT_EQ(manifest->rows, 400u);
  EXPECT_TRUE(stored().changes.empty());
  for (int i = 400; i < 409; ++i) Put(std::to_string(i), static_cast<float>(i));
  MaintainFully();
  EXPECT_EQ(DecodeManifest(stored().manifest)->drained_through, 408u);
  EXPECT_EQ(stored().changes.size(), 1u);

  // Dead rows over the limit are dropped.
  for (int i = 0; i < 200; ++i) Delete(std::to_string(i));
  MaintainFully();
  stats = shard_->Stats();
  EXPECT_EQ(stats.live_documents, 209);
  EXPECT_LT(stats.deleted_rows, 60);
  const std::vector<float> before = All();
  Load();
  EXPECT_EQ(All(), before);
}

TEST_F(ShardTest, DeletesAloneDoNotLetTheLogGrow) {
  for (int i = 0; i < 3; ++i) Put(std::to_string(i), 1);
  for (int i = 0; i < 200; ++i) {
    Put("x", 1);
    Delete("x");
    MaintainFully();
    ASSERT_LE(stored().changes.size(), 50u);
  }
  for (int i = 0; i < 3; ++i) Delete(std::to_string(i));
  MaintainFully();
  EXPECT_TRUE(All().empty());
}

TEST_F(ShardTest, EveryCrashPointOfADrainComesBackWhole) {
  for (int i = 0; i < 30; ++i) Put(std::to_string(i % 11), static_cast<float>(i));
  const std::vector<float> before = All();
  for (const std::string_view broken : {"PutManifest", "TrimChanges"}) {
    store_.fault = [&](std::string_view operation) {
      return operation == broken ? absl::UnavailableError("io") : absl::OkStatus();
    };
    EXPECT_FALSE(shard_->Maintain({}).ok());
    EXPECT_EQ(All(), before);
    store_.fault = nullptr;
    Load();  // as after a crash at this point
    EXPECT_EQ(All(), before);
  }
  MaintainFully();
  Load();
  EXPECT_EQ(All(), before);
}

TEST_F(ShardTest, AFailedManifestIsTriedAgain) {
  for (int i = 0; i < 10; ++i) Put(std::to_string(i), 1);
  store_.fault = [&](std::string_view operation) {
    return operation == "PutManifest" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  EXPECT_FALSE(shard_->Maintain({}).ok());
  EXPECT_TRUE(stored().manifest.empty());
  store_.fault = nullptr;
  EXPECT_TRUE(shard_->Maintain({}).ok());
  EXPECT_EQ(DecodeManifest(stored().manifest)->drained_through, 8u);
}

TEST_F(ShardTest, ATailOfLongVectorsHoldsFewerRows) {
  MemoryStore store;
  auto shard = Shard::Load({.collection = "c", .dimension = 16384, .tail_capacity = 1 << 20},
                           *store.OpenShard(1, 0, 16384), &metrics_);
  ASSERT_TRUE(shard.ok());
  for (int i = 0; i < 1025; ++i) {
    ShardWrite write;
    write.document.id = std::to_string(i);
    write.document.vector.resize(16384);
    (*shard)->Write({&write, 1}, {});
  }
  EXPECT_TRUE((*shard)->MaintenanceDue());  // 1,024 rows of 64 KiB fill a tail
}

TEST_F(ShardTest, CloseStopsWritesAndMaintenanceOfTheLog) {
  for (int i = 0; i < 10; ++i) Put(std::to_string(i), 1);
  shard_->Close(absl::NotFoundError("deleted"));
  EXPECT_EQ(Put("a", 1).status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(shard_->Maintain({}).status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(stored().manifest.empty());
  EXPECT_EQ(All().size(), 10u);
}

}  // namespace
}  // namespace vecino::engine
