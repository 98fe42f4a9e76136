// A shard whose documents have many rows, beside a plain map, through maintenance and starts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "server/engine/shard.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/memory_store.h"

namespace vecino::engine {
namespace {

class ShardPassagesTest : public testing::Test {
 protected:
  static constexpr int kD = 8;
  static constexpr int kIds = 60;
  static constexpr int kMostPassages = 150;  // more than two tails have room for

  void SetUp() override {
    folder_ = testing::TempDir() + "/shard_passages_" + std::to_string(getpid()) + "_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    Load();
  }
  void TearDown() override {
    shard_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Load() {
    shard_.reset();
    ShardOptions options;
    options.collection = "c";
    options.metric = index::Metric::kL2;
    options.dimension = kD;
    options.tail_capacity = 64;
    options.labels = LabelScheme::Chunked();
    options.folder = folder_;
    options.maintenance.exact_rows = exact_rows_;
    options.maintenance.gate_time = 1e9;      // a busy machine's
    options.maintenance.gate_first_rows = 1;  // so few rows need no index
    options.maintenance.graph_rows = 1 << 30;
    auto shard = Shard::Load(options, *store_.OpenShard(1, 0, kD), &metrics_);
    ASSERT_TRUE(shard.ok()) << shard.status();
    shard_ = *std::move(shard);
  }

  void Put(int id, size_t passages) {
    std::normal_distribution<float> normal;
    ShardWrite write;
    write.document.id = std::to_string(id);
    write.document.text = std::string(passages, 'x');
    for (uint32_t i = 0; i < passages; ++i) write.document.passages.push_back({i, i + 1});
    for (size_t i = 0; i < passages * kD; ++i) {
      write.document.vector.push_back(normal(rng_) + static_cast<float>(id % 5));
    }
    std::vector<float> vector = write.document.vector;
    shard_->Write({&write, 1}, {});
    ASSERT_TRUE(write.result.status.ok()) << write.result.status;
    model_[id] = {write.result.token.sequence, std::move(vector)};
  }
  void Delete(int id) {
    ShardWrite write;
    write.kind = storage::Mutation::Kind::kDelete;
    write.document.id = std::to_string(id);
    shard_->Write({&write, 1}, {});
    ASSERT_EQ(write.result.status.ok(), model_.erase(id) == 1);
  }
  // At most `steps` of them.
  void Maintain(int steps) {
    for (int i = 0; i < steps; ++i) {
      const auto worked = shard_->Maintain({});
      ASSERT_TRUE(worked.ok()) << worked.status();
      if (!worked->worked) return;
    }
  }

  std::vector<ShardHit> Expected(const std::vector<float>& query) const {
    std::vector<ShardHit> hits;
    for (const auto& [id, document] : model_) {
      if (document.vectors.empty()) continue;
      ShardHit best{document.sequence, std::numeric_limits<float>::max(), -1};
      for (size_t row = 0; row * kD < document.vectors.size(); ++row) {
        float score = 0;
        for (int j = 0; j < kD; ++j) {
          const float x =
              document.vectors[row * kD + static_cast<size_t>(j)] - query[static_cast<size_t>(j)];
          score += x * x;
        }
        if (score < best.score) best = {document.sequence, score, static_cast<int>(row)};
      }
      hits.push_back(best);
    }
    std::sort(hits.begin(), hits.end(),
              [](const ShardHit& a, const ShardHit& b) { return a.score < b.score; });
    return hits;
  }

  // What searches find is what there is, and there is no row besides.
  void Verify() {
    std::uniform_real_distribution<float> uniform(-1, 5);
    std::vector<float> query(kD);
    for (float& x : query) x = uniform(rng_);
    const std::vector<ShardHit> expected = Expected(query);
    for (const int k : {1, 5, 2 * kIds}) {
      const auto found =
          shard_->Search(query.data(), {.k = k, .exact = true}, [] { return absl::OkStatus(); });
      ASSERT_TRUE(found.ok()) << found.status();
      ASSERT_EQ(found->size(), std::min<size_t>(static_cast<size_t>(k), expected.size()));
      for (size_t i = 0; i < found->size(); ++i) {
        EXPECT_NEAR((*found)[i].score, expected[i].score, 1e-3);
        EXPECT_EQ((*found)[i].sequence, expected[i].sequence);
        EXPECT_EQ((*found)[i].passage, expected[i].passage);
      }
    }
    int64_t rows = 0, live = 0, without = 0;
    for (const auto& [id, document] : model_) {
      without += document.vectors.empty();
      live += static_cast<int64_t>(document.vectors.size() / kD);
    }
    const ShardStats stats = shard_->Stats();
    rows = stats.tail_rows - stats.deleted_rows;
    for (const auto& segment : stats.segment_list) rows += segment.rows;
    EXPECT_EQ(rows, live);
    EXPECT_EQ(stats.live_documents, static_cast<int64_t>(model_.size()));
    EXPECT_EQ(shard_->WithoutVector(), without);
  }

  struct Known {
    uint64_t sequence = 0;
    std::vector<float> vectors;
  };
  std::string folder_;
  int64_t exact_rows_ = 300;  // more are trained for, which takes a second
  MemoryStore store_;
  FakeMetrics fake_metrics_;
  EngineMetrics metrics_{&fake_metrics_};
  std::mt19937 rng_{3};
  std::map<int, Known> model_;
  std::shared_ptr<Shard> shard_;
};

TEST_F(ShardPassagesTest, OneDocumentCannotCrowdOutTheOthers) {
  exact_rows_ = 1 << 20;
  Load();
  for (int id = 1; id < 10; ++id) Put(id, 1);
  Put(0, 4096);
  Verify();
  Maintain(100);
  Verify();
  Delete(0);
  Verify();
}

TEST_F(ShardPassagesTest, ADocumentThatStandsInSeveralTailsComesBackWhole) {
  Put(1, 10);
  Put(2, 150);  // through three tails, two of which are drained
  Maintain(100);
  const auto manifest = DecodeManifest(store_.shard(1, 0)->manifest, LabelScheme::Chunked());
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->drained_through, 1u);
  EXPECT_EQ(LabelScheme::Chunked().SequenceOf(manifest->segments.back().last_label), 2u);
  Load();
  Verify();
  Put(2, 3);
  Verify();
  Load();
  Verify();
}

TEST_F(ShardPassagesTest, RandomWritesMaintenanceStartsAndLostFiles) {
  for (int round = 0; round < 300; ++round) {
    const int id = static_cast<int>(rng_() % kIds);
    switch (rng_() % 12) {
      case 0:
      case 1:
      case 2:
        Delete(id);
        break;
      case 3:
        Put(id, 1 + rng_() % kMostPassages);
        break;
      default:
        Put(id, rng_() % 13);  // of 13 one without a vector
    }
    if (rng_() % 10 == 0) Maintain(static_cast<int>(rng_() % 4));
    if (rng_() % 40 == 0) {
      shard_.reset();
      // Some files, or the manifest, are lost.
      for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
        if (rng_() % 3 == 0) std::filesystem::remove(entry.path());
      }
      if (rng_() % 3 == 0) store_.shard(1, 0)->manifest = "\x03 damaged";
      Load();
      Verify();
    }
    if (round % 10 == 0) Verify();
    if (HasFailure()) FAIL() << "in round " << round;
  }
  Maintain(1000);
  Verify();
  EXPECT_GT(shard_->Stats().generation, 0u);
}

}  // namespace
}  // namespace vecino::engine
