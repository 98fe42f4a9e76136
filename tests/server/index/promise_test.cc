// The promise of a recall target, on rows that are quick to make. tests/bench/promise_bench.cc asks
// more of it.
#include <gtest/gtest.h>

#include "tests/server/index/promise.h"

namespace vecino::index {
namespace {

struct Case {
  const char* name;
  size_t d, inner, clusters;
};

class PromiseTest : public testing::TestWithParam<Case> {};

// Of 45 cells of 1,000 queries each, whose means are off by .007 at k = 1 and .9.
TEST_P(PromiseTest, IsKeptForQueriesThatAreNoRows) {
  const Case& is = GetParam();
  Promise promise(PromiseData::Make(40'000, 1'000, is.d, is.inner, is.clusters, 5));
  for (const double share : {1.0, 0.5, 0.1, 0.01, 0.001}) {
    promise.Filter(share);
    for (const int k : {1, 10, 100}) {
      if (promise.passing() < k) continue;
      for (const double target : {0.9, 0.95, 0.99}) {
        const PromiseAnswer answer =
            promise.Ask({.k = k, .recall_target = target}, promise.queries());
        EXPECT_GE(answer.recall, target - 0.01)
            << is.name << ": k " << k << ", share " << share << ", target " << target
            << ", breadth " << answer.breadth << ", expected " << answer.expected;
        // What is said of it is so: two means, of the 800 queries of the calibration and of these.
        EXPECT_NEAR(answer.recall, answer.expected, k == 1 ? 0.045 : 0.03)
            << is.name << ": k " << k << ", share " << share << ", target " << target;
        // Comparing all rows is the most that it may cost.
        const double all = SearchCost::kAllRows * static_cast<double>(promise.passing()) +
                           SearchCost::kCode * static_cast<double>(promise.generation().nlist());
        EXPECT_LE(answer.cost, 1.3 * all) << is.name << ": k " << k << ", share " << share;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, PromiseTest,
                         testing::Values(Case{"clustered", 64, 12, 200},
                                         Case{"gaussian", 32, 32, 0}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace vecino::index
