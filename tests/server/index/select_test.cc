#include "server/index/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <numeric>
#include <random>

namespace vecino::index {
namespace {

// By sorting.
std::vector<uint32_t> ExpectedBest(const std::vector<float>& scores, size_t count, bool high) {
  std::vector<uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return high ? scores[a] > scores[b] : scores[a] < scores[b];
  });
  order.resize(std::min(count, order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

void ExpectBest(const std::vector<float>& scores, size_t count) {
  for (CpuLevel level : SupportedCpuLevels()) {
    for (bool high : {false, true}) {
      std::vector<uint32_t> out = {9, 9, 9};
      SelectBest(scores.data(), scores.size(), count, high, &out, level);
      ASSERT_EQ(out, ExpectedBest(scores, count, high))
          << CpuLevelName(level) << " n=" << scores.size() << " count=" << count << " " << high;
    }
  }
}

TEST(SelectBest, EveryLevelDoesWhatSortingDoes) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (size_t n : {0, 1, 2, 15, 16, 17, 31, 33, 100, 1000, 2048, 4099}) {
    std::vector<float> scores(n);
    for (float& score : scores) score = normal(rng);
    for (size_t count : {size_t{0}, size_t{1}, size_t{2}, n / 3, n - n / 10, n, n + 5}) {
      ExpectBest(scores, count);
    }
  }
}

TEST(SelectBest, TiesGoToTheLowerIndex) {
  std::mt19937 rng(2);
  for (size_t n : {5, 16, 40, 515}) {
    std::vector<float> scores(n);
    for (float& score : scores) score = static_cast<float>(rng() % 4) - 1.5f;
    for (size_t count = 0; count <= n; count += 1 + n / 16) ExpectBest(scores, count);
    ExpectBest(std::vector<float>(n, 0.25f), n / 2);
  }
}

TEST(SelectBest, ZerosOfBothSignsTieAndExtremesAreOrdered) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> scores = {0.0f, -0.0f, kInf, -kInf, kMax,  -kMax, kTiny, -kTiny, 1,
                                     -1,   -0.0f, 0.0f, -0.0f, -kInf, kInf,  2,     -2,     0.0f};
  for (size_t count = 0; count <= scores.size(); ++count) ExpectBest(scores, count);
}

// NaN is not allowed, yet must not lead to rows that do not exist.
TEST(SelectBest, NotANumberYieldsValidIndexes) {
  for (uint32_t sign : {0u, 0x80000000u}) {
    std::vector<float> scores(21, std::bit_cast<float>(sign | 0x7fffffffu));
    scores[3] = 1;
    for (CpuLevel level : SupportedCpuLevels()) {
      for (bool high : {false, true}) {
        std::vector<uint32_t> out;
        SelectBest(scores.data(), scores.size(), 10, high, &out, level);
        ASSERT_EQ(out.size(), 10u);
        for (size_t i = 0; i < out.size(); ++i) EXPECT_LT(out[i], 21u);
        EXPECT_EQ(std::adjacent_find(out.begin(), out.end(), std::greater_equal<>()), out.end());
      }
    }
  }
}

std::vector<PqCandidate> RandomCandidates(std::mt19937& rng, size_t n, uint32_t sums) {
  std::vector<PqCandidate> candidates(n);
  for (uint32_t i = 0; i < n; ++i) {
    candidates[i] = {sums == 0 ? static_cast<uint32_t>(rng()) : static_cast<uint32_t>(rng()) % sums,
                     i};
  }
  return candidates;
}

std::vector<uint32_t> SortedSums(const PqCandidate* candidates, size_t n) {
  std::vector<uint32_t> sums;
  for (size_t i = 0; i < n; ++i) sums.push_back(candidates[i].sum);
  std::sort(sums.begin(), sums.end(), std::greater<>());
  return sums;
}

TEST(KeepBest, EveryLevelKeepsTheHighestSums) {
  std::mt19937 rng(3);
  for (uint32_t sums : {0u, 3u, 1000u, 24480u}) {  // 0: all 32 bits
    for (size_t n : {1, 2, 7, 8, 9, 16, 100, 1229}) {
      const std::vector<PqCandidate> all = RandomCandidates(rng, n, sums);
      const std::vector<uint32_t> sorted = SortedSums(all.data(), n);
      for (size_t count : {size_t{1}, n / 2, n - 1, n}) {
        if (count == 0) continue;
        for (CpuLevel level : SupportedCpuLevels()) {
          std::vector<PqCandidate> kept = all;
          const Kept exactly = KeepBest(kept.data(), n, count, /*more=*/0, level);
          EXPECT_EQ(exactly.lowest, sorted[count - 1]);
          EXPECT_EQ(exactly.size, count);
          kept.resize(count);
          ASSERT_EQ(
              SortedSums(kept.data(), count),
              std::vector<uint32_t>(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(count)))
              << CpuLevelName(level) << " n=" << n << " count=" << count << " sums=" << sums;
          std::vector<bool> seen(n);
          for (const PqCandidate& candidate : kept) {
            ASSERT_LT(candidate.slot, n);
            EXPECT_EQ(candidate.sum, all[candidate.slot].sum);
            EXPECT_FALSE(seen[candidate.slot]);
            seen[candidate.slot] = true;
          }
        }
      }
    }
  }
}

TEST(KeepBest, MayKeepSomeMore) {
  std::mt19937 rng(5);
  for (uint32_t sums : {0u, 3u, 1000u, 24480u}) {
    const std::vector<PqCandidate> all = RandomCandidates(rng, 1229, sums);
    const std::vector<uint32_t> sorted = SortedSums(all.data(), all.size());
    for (size_t count : {1, 100, 1000, 1228, 1229}) {
      for (size_t more : {1, 50, 2000}) {
        for (CpuLevel level : SupportedCpuLevels()) {
          std::vector<PqCandidate> kept = all;
          const Kept some = KeepBest(kept.data(), kept.size(), count, more, level);
          ASSERT_GE(some.size, count);
          ASSERT_LE(some.size, std::min(count + more, all.size()));
          EXPECT_EQ(some.lowest, sorted[some.size - 1]);
          ASSERT_EQ(SortedSums(kept.data(), some.size),
                    std::vector<uint32_t>(sorted.begin(),
                                          sorted.begin() + static_cast<ptrdiff_t>(some.size)));
        }
      }
    }
  }
}

TEST(Reservoir, EndsWithTheBestOfAllThatWereAdded) {
  std::mt19937 rng(4);
  Reservoir reservoir;
  for (size_t keep : {1, 30, 200, 1500}) {
    for (size_t n : {0, 1, 150, 1024, 14'000}) {
      reservoir.Reset(keep);
      EXPECT_EQ(reservoir.threshold(), 0u);
      std::vector<PqCandidate> all = RandomCandidates(rng, n, 20'000);
      for (PqCandidate& candidate : all) ++candidate.sum;
      for (size_t begin = 0; begin < n;) {
        const size_t end = std::min<size_t>(n, begin + 1 + rng() % Reservoir::kRoom);
        size_t added = 0;
        PqCandidate* room = reservoir.room();
        for (; begin < end; ++begin) {
          if (all[begin].sum > reservoir.threshold()) room[added++] = all[begin];
        }
        reservoir.Added(added);
      }
      const size_t kept = reservoir.Finish();
      std::vector<uint32_t> expected = SortedSums(all.data(), n);
      expected.resize(std::min(n, keep));
      EXPECT_EQ(SortedSums(reservoir.data(), kept), expected) << "keep=" << keep << " n=" << n;
    }
  }
}

}  // namespace
}  // namespace vecino::index
