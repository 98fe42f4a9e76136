// The promise under a filter so selective that the rows of lists which pass are scored without a
// look at their codes, and yet more pass than are all compared: that takes many rows.
#include <gtest/gtest.h>

#include "tests/server/index/promise.h"
#include "tests/server/index/promise_expect.h"

namespace vecino::index {
namespace {

// For k = 1 chance is greater: of the best row alone too few are lost to tell how many, so
// calibration asks of the best three how many rows are to be scored again, which is a few more.
constexpr double kMostCostOfOne = 1.3;

TEST(PromiseScaleTest, IsKeptWhereOneInAHundredRowsPasses) {
  Promise promise(PromiseData::Make(600'000, 2'000, 32, 8, 400, 6), /*threads=*/2);
  for (const double share : {0.1, 0.01}) {
    promise.Filter(share);
    ASSERT_GT(promise.passing(), kGather);
    ASSERT_EQ(share < 0.05, promise.passing() * kSparse < promise.rows());
    for (const int k : {1, 10, 100}) {
      for (const double target : kPromiseTargets) {
        const PromiseCell cell = {k, share, target};
        const PromiseAnswer answer =
            promise.Ask({.k = k, .recall_target = target}, k == 1 ? promise.queries() : 1'000);
        ExpectKept(promise, cell, answer);
        // For the hundred best of 6,000 comparing them all may take less.
        if (k < 100 && target < 0.99) {
          EXPECT_GT(answer.breadth, 0) << cell << ": no list was looked at";
        }
      }
      const size_t queries = k == 1 ? 1'000 : k == 10 ? 300 : 150;
      ExpectCheap(promise, share, k, queries, k == 1 ? kMostCostOfOne : kMostPromiseCost);
    }
  }
}

}  // namespace
}  // namespace vecino::index
