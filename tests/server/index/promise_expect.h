// What tests expect of a promise.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <ostream>
#include <vector>

#include "tests/server/index/promise.h"

namespace vecino::index {

inline constexpr std::array<double, 3> kPromiseTargets = {0.9, 0.95, 0.99};

// One in a table of the promise.
struct PromiseCell {
  int k;
  double share, target;
};

inline std::ostream& operator<<(std::ostream& out, const PromiseCell& cell) {
  return out << "k " << cell.k << ", share " << cell.share << ", target " << cell.target;
}

// What every cell keeps, exact ones as well.
inline void ExpectKept(const Promise& promise, const PromiseCell& cell,
                       const PromiseAnswer& answer) {
  EXPECT_GE(answer.recall, cell.target - 0.01)
      << cell << ", breadth " << answer.breadth << ", expected " << answer.expected;
  // What is said of it is so: two means, of the 800 queries of the calibration and of these.
  EXPECT_NEAR(answer.recall, answer.expected, cell.k == 1 ? 0.045 : 0.03) << cell;
  // Comparing all rows is the most that it may cost.
  const double all = SearchCost::kAllRows * static_cast<double>(promise.passing()) +
                     SearchCost::kCode * static_cast<double>(promise.generation().nlist());
  EXPECT_LE(answer.cost, kMostPromiseCost * all) << cell;
}

// The three targets beside the best fixed setting that finds as much of the same queries.
// most: in multiples of that setting's cost.
inline void ExpectCheap(const Promise& promise, double share, int k, size_t queries, double most) {
  std::vector<PromiseAnswer> answers;
  double most_recall = 0, most_cost = 0;
  for (const double target : kPromiseTargets) {
    answers.push_back(promise.Ask({.k = k, .recall_target = target}, queries));
    most_recall = std::max(most_recall, answers.back().recall);
    most_cost = std::max(most_cost, answers.back().cost);
  }
  // Further than the answers' cost, so that settings that cost more for as much are seen, too.
  const PromiseSweep sweep = Sweep(promise, k, most_recall, 1.5 * most_cost, queries);
  EXPECT_FALSE(sweep.exact) << "k " << k << ", share " << share;
  for (size_t i = 0; i < kPromiseTargets.size(); ++i) {
    const double fixed = Cheapest(sweep, answers[i].recall, &PromiseAnswer::cost);
    EXPECT_LE(answers[i].cost, most * fixed)
        << PromiseCell{k, share, kPromiseTargets[i]} << ": recall " << answers[i].recall
        << ", breadth " << answers[i].breadth << ", scanned " << answers[i].scanned << ", again "
        << answers[i].reranked;
    // A sweep so coarse or short that it finds no such setting would tell nothing.
    EXPECT_LE(fixed, 1.5 * answers[i].cost) << PromiseCell{k, share, kPromiseTargets[i]};
  }
}

}  // namespace vecino::index
