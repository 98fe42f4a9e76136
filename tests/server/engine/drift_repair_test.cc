// Rows of other kinds come to an index until they are most of it: what that costs, and that
// retrains mend it.
#include <algorithm>
#include <cstdio>

#include "absl/time/clock.h"
#include "server/index/search_report.h"
#include "tests/server/engine/retrain_fixture.h"

namespace vecino::engine {
namespace {

using Vectors = std::vector<std::vector<float>>;

class DriftRepairTest : public RetrainFixture {
 protected:
  static constexpr int kFirst = 6000, kEach = 12'000;  // rows of the first kind, of the others
  static constexpr double kTarget = 0.95, kSlack = 0.01;

  // The means over some queries.
  struct Figures {
    double recall = 0, scanned = 0;
  };

  void SetUp() override {
    RetrainFixture::SetUp();
    // One training of all rows of the first kind, not of the first of them.
    options_.maintenance.exact_rows = 5000;
    options_.maintenance.gate_first_rows = 1;
    options_.maintenance.min_drift_rows = 1000;
    options_.maintenance.quiet_tail_rows = 1;  // nothing is left in a tail
    options_.maintenance.tail_quiet = absl::ZeroDuration();
    // A rejected retrain is tried again at once, and none is for its time, which is the machine's.
    options_.maintenance.retrain_wait = absl::Milliseconds(1);
    options_.maintenance.gate_time = 1e9;
    ASSERT_EQ(options_.index.recall_target, kTarget);
    std::mt19937 random(7);
    for (const int kind : {0, 1, 2}) {
      for (int i = 0; i < (kind == 0 ? kFirst : kEach); ++i) rows_.push_back(Draw(kind, &random));
      for (int i = 0; i < (kind == 0 ? 80 : 160); ++i) queries_.push_back(Draw(kind, &random));
    }
  }

  // Around one of the kind's 40 centres.
  static std::vector<float> Draw(int kind, std::mt19937* random) {
    std::minstd_rand centre(static_cast<uint32_t>(40 * kind) + (*random)() % 40 + 1);
    centre.discard(3);
    std::uniform_real_distribution<float> place(-3, 3);
    std::normal_distribution<float> normal;
    std::vector<float> vector(kD);
    for (float& x : vector) x = place(centre) + 0.7f * normal(*random);
    return vector;
  }

  std::shared_ptr<Shard> NewShard(int number, bool repair) {
    ShardOptions options = options_;
    options.number = number;
    options.folder = folder_ + "/" + std::to_string(number);
    options.maintenance.repair = repair;
    std::filesystem::create_directories(options.folder);
    auto shard =
        Shard::Load(options, *store_.OpenShard(1, static_cast<uint32_t>(number), kD), &metrics_);
    EXPECT_TRUE(shard.ok()) << shard.status();
    return shard.ok() ? *std::move(shard) : nullptr;
  }
  // A tail at a time.
  void Write(Shard* shard, const Vectors& rows, size_t first, size_t count) const {
    const auto most = static_cast<size_t>(options_.tail_capacity);
    for (const size_t end = first + count; first < end; first += most) {
      std::vector<ShardWrite> writes(std::min(most, end - first));
      for (size_t i = 0; i < writes.size(); ++i) {
        writes[i].document.id = std::to_string(first + i);
        writes[i].document.vector = rows[first + i];
      }
      shard->Write(absl::MakeSpan(writes), {});
      for (const ShardWrite& write : writes) {
        ASSERT_TRUE(write.result.status.ok()) << write.result.status;
      }
    }
  }
  static void MaintainAll(Shard* shard) {
    while (true) {
      const auto worked = shard->Maintain({});
      ASSERT_TRUE(worked.ok()) << worked.status();
      if (!worked->worked) return;
    }
  }
  // Dead rows, of which there are none here, are mended by merges.
  static bool AnyDue(const Shard& shard) {
    const auto drift = shard.Stats().drift;
    return std::any_of(drift.begin(), drift.end(), [](const auto& signal) { return signal.due; });
  }
  // The first kind, and its training; then the others, with what maintenance finds to do after
  // every tail.
  void LoadInOrder(Shard* shard) {
    Write(shard, rows_, 0, kFirst);
    MaintainAll(shard);
    const ShardStats stats = shard->Stats();
    ASSERT_GT(stats.generation, 0u);
    ASSERT_LE(stats.generation_rows, kFirst);
    ASSERT_GT(stats.generation_rows, kFirst - 1000);
    const auto step = static_cast<size_t>(options_.tail_capacity);
    for (size_t first = kFirst; first < rows_.size(); first += step) {
      Write(shard, rows_, first, std::min(step, rows_.size() - first));
      MaintainAll(shard);
    }
  }

  Figures Ask(const char* what, const Shard& shard) const {
    Figures figures;
    for (const std::vector<float>& query : queries_) {
      std::vector<float> distances;
      distances.reserve(rows_.size());
      for (const std::vector<float>& row : rows_) {
        float sum = 0;
        for (int i = 0; i < kD; ++i) sum += (row[i] - query[i]) * (row[i] - query[i]);
        distances.push_back(sum);
      }
      std::nth_element(distances.begin(), distances.begin() + 9, distances.end());
      index::SearchReport report;
      const auto hits = shard.Search(query.data(), {.k = 10, .recall_target = 0, .report = &report},
                                     [] { return absl::OkStatus(); });
      EXPECT_TRUE(hits.ok()) << hits.status();
      if (!hits.ok()) return {};
      for (const ShardHit& hit : *hits) figures.recall += hit.score <= distances[9] * 1.0001f;
      figures.scanned += static_cast<double>(report.scanned);
    }
    figures.recall /= 10 * static_cast<double>(queries_.size());
    figures.scanned /= static_cast<double>(queries_.size());
    const ShardStats stats = shard.Stats();
    std::printf("  %-10s recall %.3f, %.0f rows scanned; generation %d, trained on %d rows\n", what,
                figures.recall, figures.scanned, static_cast<int>(stats.generation),
                static_cast<int>(stats.generation_rows));
    std::fflush(stdout);
    return figures;
  }

  Vectors rows_;     // in the order in which they come
  Vectors queries_;  // that are none of them, of the kinds in the rows' shares
};

TEST_F(DriftRepairTest, RetrainsKeepTheTargetAtAFreshBuildsCost) {
  // A fresh build: one training of all rows, in random order.
  const auto fresh_shard = NewShard(1, /*repair=*/true);
  ASSERT_NE(fresh_shard, nullptr);
  Vectors shuffled = rows_;
  std::shuffle(shuffled.begin(), shuffled.end(), rng_);
  Write(fresh_shard.get(), shuffled, 0, shuffled.size());
  MaintainAll(fresh_shard.get());
  ASSERT_GT(fresh_shard->Stats().generation_rows, static_cast<int64_t>(rows_.size()) - 1000);
  const Figures fresh = Ask("fresh", *fresh_shard);
  EXPECT_GE(fresh.recall, kTarget - kSlack);

  const auto stale_shard = NewShard(2, /*repair=*/false);
  ASSERT_NE(stale_shard, nullptr);
  LoadInOrder(stale_shard.get());
  ASSERT_LE(stale_shard->Stats().generation_rows, kFirst) << "something retrained it";
  EXPECT_TRUE(AnyDue(*stale_shard));
  const Figures stale = Ask("unrepaired", *stale_shard);
  EXPECT_TRUE(stale.recall < fresh.recall - 0.05 || stale.scanned > 1.5 * fresh.scanned)
      << "these rows are no drift: recall " << stale.recall << " of " << fresh.recall << ", rows "
      << stale.scanned << " of " << fresh.scanned;

  const auto shard = NewShard(3, /*repair=*/true);
  ASSERT_NE(shard, nullptr);
  LoadInOrder(shard.get());
  // A retrain that was rejected waits for a while.
  const absl::Time end = absl::Now() + absl::Minutes(1);
  while (AnyDue(*shard) && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(10));
    MaintainAll(shard.get());
  }
  EXPECT_FALSE(AnyDue(*shard)) << shard->Stats().last_choice;
  const Figures repaired = Ask("repaired", *shard);
  EXPECT_GE(repaired.recall, kTarget - kSlack);
  // The 1.10, and what lists of so few rows vary by.
  EXPECT_LE(repaired.scanned, 1.15 * fresh.scanned);
}

}  // namespace
}  // namespace vecino::engine
