#include "server/engine/maintenance.h"

#include <gtest/gtest.h>

#include <atomic>

#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

class MaintenanceTest : public testing::Test {
 protected:
  std::shared_ptr<Shard> NewShard(uint32_t number) {
    return *Shard::Load(
        {.collection = "c", .number = static_cast<int>(number), .dimension = 1, .tail_capacity = 4},
        *store_.OpenShard(1, number, 1), &metrics_);
  }
  static void Fill(Shard* shard, int rows) {
    for (int i = 0; i < rows; ++i) {
      ShardWrite write;
      write.document.id = std::to_string(i);
      write.document.vector = {1};
      shard->Write({&write, 1}, {});
      ASSERT_TRUE(write.result.status.ok());
    }
  }

  MemoryStore store_;
  FakeMetrics fake_metrics_;
  EngineMetrics metrics_{&fake_metrics_};
};

TEST_F(MaintenanceTest, WorksThroughEveryShardThatAsked) {
  Maintenance maintenance(2, &metrics_);
  std::vector<std::shared_ptr<Shard>> shards;
  for (uint32_t i = 0; i < 5; ++i) {
    shards.push_back(NewShard(i));
    Fill(shards.back().get(), 100);
    maintenance.Notify(shards.back());
    maintenance.Notify(shards.back());
  }
  maintenance.WaitIdle();
  EXPECT_EQ(maintenance.Backlog(), 0);
  for (const auto& shard : shards) {
    EXPECT_FALSE(shard->MaintenanceDue());
    EXPECT_LE(shard->Stats().tail_rows, 4);
    EXPECT_EQ(shard->LiveDocuments(), 100);
  }
  EXPECT_GE(fake_metrics_.Value("vecino_maintenance_total,drain"), 5);
}

TEST_F(MaintenanceTest, AFailureIsCountedAndTriedAgain) {
  std::atomic<int> failures{0};
  store_.fault = [&](std::string_view operation) {
    return operation == "PutManifest" && failures++ < 3 ? absl::UnavailableError("io")
                                                        : absl::OkStatus();
  };
  Maintenance maintenance(1, &metrics_);
  auto shard = NewShard(0);
  Fill(shard.get(), 9);
  maintenance.Notify(shard);
  maintenance.WaitIdle();
  EXPECT_EQ(fake_metrics_.Value("vecino_maintenance_failures_total"), 3);
  EXPECT_FALSE(store_.shard(1, 0)->manifest.empty());
}

TEST_F(MaintenanceTest, ShortWorkGoesOnBesideLongWork) {
  auto shard = NewShard(0);
  Fill(shard.get(), 30);
  auto operation =
      std::make_shared<Operation>("o", "c", Operation::Type::kCompact, std::vector<int>{0});
  while (shard->Maintain({}, Shard::Effort::kShort)->worked) {
  }
  shard->Request(operation);
  // What was asked for is left to a thread that may take long; full tails are not.
  auto left = shard->Maintain({}, Shard::Effort::kShort);
  ASSERT_TRUE(left.ok());
  EXPECT_TRUE(left->wants_long);
  EXPECT_FALSE(left->worked);
  Fill(shard.get(), 30);
  left = shard->Maintain({}, Shard::Effort::kShort);
  ASSERT_TRUE(left.ok());
  EXPECT_TRUE(left->worked);
  EXPECT_FALSE(operation->Snapshot().done);
  Maintenance maintenance(1, &metrics_);
  maintenance.Notify(shard);
  maintenance.WaitIdle();
  EXPECT_TRUE(operation->Snapshot().done);
}

TEST_F(MaintenanceTest, ForgetsShardsThatAreGone) {
  store_.fault = [&](std::string_view operation) {
    return operation == "PutManifest" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  Maintenance maintenance(1, &metrics_);
  auto shard = NewShard(0);
  Fill(shard.get(), 9);
  maintenance.Notify(shard);
  shard.reset();
  maintenance.WaitIdle();
  EXPECT_EQ(maintenance.Backlog(), 0);
}

TEST_F(MaintenanceTest, StopsWithWorkLeft) {
  store_.fault = [&](std::string_view operation) {
    return operation == "PutManifest" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  Maintenance maintenance(1, &metrics_);
  auto shard = NewShard(0);
  Fill(shard.get(), 9);
  maintenance.Notify(shard);
  maintenance.Stop();
  maintenance.Stop();
  maintenance.Notify(shard);
  EXPECT_LE(maintenance.Backlog(), 1);
}

// Maintenance that fails is tried again later and later, and meanwhile full tails wait.
TEST_F(EngineTest, TheLagOfTheIndexIsMeasured) {
  std::atomic<bool> broken = false;
  store_.fault = [&](std::string_view operation) {
    return broken && operation == "PutManifest" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  Create("c", 2);
  EXPECT_EQ(metrics_.Value("vecino_index_lag_seconds"), 0);
  broken = true;
  // No time is waited for: while a step waits to be tried again, which it does ever longer, a tail
  // that is full stays so.
  for (int i = 0; metrics_.Value("vecino_index_lag_seconds") == 0; ++i) {
    Put("c", std::to_string(i % 1000), "t" + std::to_string(i));
  }
  broken = false;
  engine_.reset();
  store_.fault = nullptr;
}

TEST_F(EngineTest, MaintenanceRunsByItself) {
  Create("c", 1);
  for (int i = 0; i < 300; ++i) Put("c", std::to_string(i), "t" + std::to_string(i));
  // The background thread gets there; what is waited for is stated, not a time.
  while (engine_->GetCollectionStats("c")->shards[0].tail_rows > 8) std::this_thread::yield();
  EXPECT_EQ(*engine_->Count("c"), 300);
  EXPECT_EQ(FindText("c", "t7", 1), std::vector<std::string>{"7"});
}

}  // namespace
}  // namespace vecino::engine
