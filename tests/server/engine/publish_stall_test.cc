// How long writers of a large shard wait while a segment is put in place.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <thread>

#include "server/engine/low_priority.h"
#include "tests/server/engine/retrain_fixture.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

class PublishStallTest : public RetrainFixture {
 protected:
  // The least value that this share of them do not exceed.
  static double Share(std::vector<double> values, double share) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const auto count = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
    return values[std::max<size_t>(count, 1) - 1];
  }
};

TEST_F(PublishStallTest, StaysUnderAMillisecondWithThreeHundredThousandRows) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "times say nothing under a sanitizer";
#endif
  constexpr int kMany = 304'600, kDim = 16;
  constexpr size_t kLeast = 250;
  SwapThread swaps;
  options_.dimension = kDim;
  options_.tail_capacity = ShardOptions().tail_capacity;
  options_.maintenance = {};
  OpenGate(&options_.maintenance);
  options_.budget = nullptr;
  options_.hooks = {};
  options_.swaps = &swaps;
  auto shard = *Shard::Load(options_, *store_.OpenShard(1, 0, kDim), &metrics_);
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  const auto write = [&](int first, int count, std::mt19937* random) {
    std::vector<ShardWrite> writes(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) {
      writes[static_cast<size_t>(i)].document.id = std::to_string((first + i) % kMany);
      auto& vector = writes[static_cast<size_t>(i)].document.vector;
      vector.resize(kDim);
      for (float& x : vector) x = normal(*random);
    }
    shard->Write(absl::MakeSpan(writes), {});
  };
  for (int id = 0; id < kMany; id += 500) write(id, 500, &rng);
  while (shard->Maintain({})->worked) {
  }
  ASSERT_GT(shard->Stats().generation, 0u);
  constexpr char kStall[] = "vecino_publish_stall_seconds";  // what the engine itself observes

  // Stalls of one retrain and so many compactions that there are kLeast publications.
  const auto measure = [&] {
    const size_t before = fake_metrics_.Observed(kStall).size();
    // Updates all over, so that every build misses many that died; maintenance has a low priority.
    std::atomic<bool> stop = false;
    std::thread writer([&] {
      std::mt19937 random(2);
      while (!stop) {
        write(static_cast<int>(random() % kMany), 20, &random);
        absl::SleepFor(absl::Milliseconds(4));
      }
    });
    std::thread maintenance([&] {
      LowerPriority();
      const auto run = [&](Operation::Type type) {
        auto operation = std::make_shared<Operation>("o", "c", type, std::vector<int>{0});
        shard->Request(operation);
        while (!operation->done()) ASSERT_TRUE(shard->Maintain({}).ok());
      };
      run(Operation::Type::kRetrain);
      const absl::Time end = absl::Now() + absl::Minutes(4);
      while (fake_metrics_.Observed(kStall).size() < before + kLeast && absl::Now() < end) {
        run(Operation::Type::kCompact);
      }
    });
    maintenance.join();
    stop = true;
    writer.join();
    std::vector<double> stalls = fake_metrics_.Observed(kStall);
    stalls.erase(stalls.begin(), stalls.begin() + static_cast<ptrdiff_t>(before));
    std::printf(
        "  %zu publications beside updates of %d rows: p50 %.1f µs, p99 %.1f, longest %.1f; "
        "%lld over 1 ms\n",
        stalls.size(), kMany, 1e6 * Share(stalls, 0.5), 1e6 * Share(stalls, 0.99),
        1e6 * Share(stalls, 1),
        static_cast<long long>(
            std::count_if(stalls.begin(), stalls.end(), [](double s) { return s > 1e-3; })));
    std::fflush(stdout);
    return stalls;
  };
  // The median is the engine's own doing, and holds each time. The 99th percentile of so few is
  // the third longest stall of all: two or three moments in which the machine gives this process'
  // processor to another, with the lock held, are enough to spoil it. A swap that takes long by
  // itself does so in every measurement, so it is the best of three that must hold.
  double best = 1e9;
  for (int attempt = 0; attempt < 3 && best > 1e-3; ++attempt) {
    const std::vector<double> stalls = measure();
    ASSERT_GE(stalls.size(), size_t{100}) << "too few publications in four minutes";
    EXPECT_LE(Share(stalls, 0.5), 1e-3);
    best = std::min(best, Share(stalls, 0.99));
  }
  EXPECT_LE(best, 1e-3) << "the 99th percentile of what writers wait for, in seconds";
}

}  // namespace
}  // namespace vecino::engine
