#include "server/index/distance.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/server/index/vectors.h"

namespace vecino::index {
namespace {

TEST(Distance, EveryKernelAgreesWithDoubles) {
  std::mt19937 rng(1);
  for (const Kernels& kernels : SupportedKernels()) {
    for (size_t d : {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 384, 769}) {
      const size_t n = 5;
      const std::vector<float> query = RandomVector(rng, d), rows = RandomVector(rng, n * d);
      std::vector<float> scores(n);
      for (Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
        (metric == Metric::kL2 ? kernels.l2 : kernels.inner_product)(query.data(), rows.data(), d,
                                                                     n, scores.data());
        for (size_t i = 0; i < n; ++i) {
          EXPECT_NEAR(scores[i], ExactScore(metric, query.data(), &rows[i * d], d),
                      1e-5 * static_cast<double>(d + 4))
              << kernels.name << " d=" << d;
        }
      }
    }
  }
}

TEST(Distance, ScoreOfARowDoesNotDependOnItsNeighbours) {
  std::mt19937 rng(2);
  const size_t d = 101, n = 64;
  const std::vector<float> query = RandomVector(rng, d), rows = RandomVector(rng, n * d);
  for (Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    std::vector<float> together(n);
    Score(metric, query.data(), rows.data(), d, n, together.data());
    for (size_t i = 0; i < n; ++i) {
      float alone = 0;
      Score(metric, query.data(), &rows[i * d], d, 1, &alone);
      EXPECT_EQ(alone, together[i]);
    }
  }
}

TEST(Distance, TheLastKernelIsThePortableOne) {
  ASSERT_FALSE(SupportedKernels().empty());
  EXPECT_EQ(SupportedKernels().back().name, "faiss");
}

}  // namespace
}  // namespace vecino::index
