// One shard with files on disk whose retrains can be watched and spoiled.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "server/engine/shard.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/memory_store.h"

namespace vecino::engine {

class RetrainFixture : public testing::Test {
 protected:
  static constexpr int kD = 64;
  static constexpr int kRows = 6000;

  void SetUp() override {
    folder_ = testing::TempDir() + "/retrain_" + std::to_string(getpid()) + "_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    options_.collection = "c";
    options_.metric = index::Metric::kL2;
    options_.dimension = kD;
    options_.tail_capacity = 500;
    options_.folder = folder_;
    options_.maintenance.exact_rows = 1000;
    options_.maintenance.gate_time = 1e9;  // a busy machine's
    options_.index.graph = false;
    options_.budget = &budget_;
    options_.events = &events_;
    options_.hooks.at = [this](std::string_view stage) {
      if (stages_.empty() || stages_.back() != stage) stages_.emplace_back(stage);
      if (at_stage_) at_stage_(std::string(stage));
    };
  }
  void TearDown() override {
    shard_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Load() {
    shard_.reset();
    auto shard = Shard::Load(options_, *store_.OpenShard(1, 0, kD), &metrics_);
    ASSERT_TRUE(shard.ok()) << shard.status();
    shard_ = *std::move(shard);
  }
  // Around one of 40 centres by its id, moved by `shift`.
  void Put(int id, float shift = 0) {
    std::normal_distribution<float> normal;
    std::minstd_rand centre(static_cast<uint32_t>(id % 40 + 1));
    centre.discard(3);
    std::uniform_real_distribution<float> place(-3, 3);
    ShardWrite write;
    write.document.id = std::to_string(id);
    write.document.vector.resize(kD);
    for (float& x : write.document.vector) x = place(centre) + 0.7f * normal(rng_) + shift;
    vectors_[id] = write.document.vector;
    shard_->Write({&write, 1}, {});
    ASSERT_TRUE(write.result.status.ok()) << write.result.status;
  }
  void Delete(int id) {
    ShardWrite write;
    write.kind = storage::Mutation::Kind::kDelete;
    write.document.id = std::to_string(id);
    vectors_.erase(id);
    shard_->Write({&write, 1}, {});
    ASSERT_TRUE(write.result.status.ok()) << write.result.status;
  }
  void Fill(int rows = kRows) {
    for (int id = 0; id < rows; ++id) Put(id);
  }
  // Also what is due only later.
  void MaintainInTime() {
    while (true) {
      const auto worked = shard_->Maintain({});
      ASSERT_TRUE(worked.ok()) << worked.status();
      if (worked->worked) return;
      ASSERT_LT(worked->look_again, absl::Now() + absl::Minutes(5)) << "nothing is due";
      absl::SleepFor(worked->look_again - absl::Now());
    }
  }
  void Compact() {
    auto operation =
        std::make_shared<Operation>("c", "c", Operation::Type::kCompact, std::vector<int>{0});
    shard_->Request(operation);
    Maintain();
  }
  void Maintain() {
    while (true) {
      const auto worked = shard_->Maintain({});
      ASSERT_TRUE(worked.ok()) << worked.status();
      if (!worked->worked) return;
    }
  }
  // A shard of kRows rows under its first generation.
  void Start() {
    Load();
    Fill();
    Maintain();
    ASSERT_GT(shard_->Stats().generation, 0u);
    stages_.clear();
  }
  std::shared_ptr<Operation> Request(double min_recall = 0) {
    auto operation = std::make_shared<Operation>("o", "c", Operation::Type::kRetrain,
                                                 std::vector<int>{0}, 0, nullptr, min_recall);
    shard_->Request(operation);
    return operation;
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      files.push_back(entry.path().filename().string());
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  // Mean share of the 10 nearest that a search for stored rows' neighbourhoods finds.
  double Recall(int queries = 60) const {
    double found = 0;
    std::mt19937 rng(5);
    for (int q = 0; q < queries; ++q) {
      auto at = vectors_.begin();
      std::advance(at, static_cast<ptrdiff_t>(rng() % vectors_.size()));
      std::vector<float> query = at->second;
      for (float& x : query) x += 0.1f;
      std::vector<float> distances;
      for (const auto& [id, vector] : vectors_) {
        float sum = 0;
        for (int i = 0; i < kD; ++i) sum += (vector[i] - query[i]) * (vector[i] - query[i]);
        distances.push_back(sum);
      }
      std::nth_element(distances.begin(), distances.begin() + 9, distances.end());
      const auto hits = shard_->Search(query.data(), {.k = 10, .recall_target = 0},
                                       [] { return absl::OkStatus(); });
      EXPECT_TRUE(hits.ok()) << hits.status();
      for (const ShardHit& hit : *hits) found += hit.score <= distances[9] * 1.0001f;
    }
    return found / queries / 10;
  }
  // Every live row is found, and nothing else.
  void CheckRows() const {
    const std::vector<float> query(kD, 0);
    const auto hits = shard_->Search(query.data(), {.k = 100'000, .exact = true},
                                     [] { return absl::OkStatus(); });
    ASSERT_TRUE(hits.ok()) << hits.status();
    std::vector<float> found, expected;
    for (const ShardHit& hit : *hits) found.push_back(hit.score);
    for (const auto& [id, vector] : vectors_) {
      float sum = 0;
      for (const float x : vector) sum += x * x;
      expected.push_back(sum);
    }
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-2) << i;
  }

  std::string folder_;
  ShardOptions options_;
  MemoryStore store_;
  FakeMetrics fake_metrics_;
  EngineMetrics metrics_{&fake_metrics_};
  MemoryBudget budget_{int64_t{1} << 30};
  EventBus events_;
  std::mt19937 rng_{1};
  std::map<int, std::vector<float>> vectors_;
  std::vector<std::string> stages_;                   // that were begun
  std::function<void(const std::string&)> at_stage_;  // at each beginning and pause
  std::shared_ptr<Shard> shard_;
};

}  // namespace vecino::engine
