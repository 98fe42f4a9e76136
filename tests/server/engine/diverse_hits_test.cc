#include "server/engine/diverse_hits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace vecino::engine {
namespace {

using testing::ElementsAre;

absl::Status Ok() { return absl::OkStatus(); }

double Similarity(index::Metric metric, const float* a, const float* b, size_t d) {
  double sum = 0;
  for (size_t i = 0; i < d; ++i) {
    sum += metric == index::Metric::kL2 ? -(a[i] - b[i]) * (a[i] - b[i]) : a[i] * b[i];
  }
  return sum;
}

// As the definition says, with nothing remembered.
std::vector<size_t> ByDefinition(index::Metric metric, const std::vector<float>& rows, size_t d,
                                 const std::vector<float>& query, double lambda, size_t count) {
  const size_t n = rows.size() / d;
  std::vector<size_t> order;
  while (order.size() < std::min(count, n)) {
    size_t best = n;
    double best_value = 0;
    for (size_t i = 0; i < n; ++i) {
      if (std::find(order.begin(), order.end(), i) != order.end()) continue;
      double value = lambda * Similarity(metric, query.data(), &rows[i * d], d);
      double nearest = -1e300;
      for (const size_t j : order) {
        nearest = std::max(nearest, Similarity(metric, &rows[i * d], &rows[j * d], d));
      }
      if (!order.empty()) value -= (1 - lambda) * nearest;
      if (best == n || value > best_value) {
        best = i;
        best_value = value;
      }
    }
    order.push_back(best);
  }
  return order;
}

// Whole numbers, so that every sum is exact and ties are many.
TEST(DiverseHitsTest, IsTheDefinition) {
  std::mt19937 random(7);
  for (const index::Metric metric : {index::Metric::kInnerProduct, index::Metric::kL2}) {
    for (const double lambda : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      constexpr size_t kRows = 60, kD = 6;
      std::vector<float> rows(kRows * kD), query(kD), scores(kRows);
      for (float& x : rows) x = static_cast<float>(random() % 5) - 2;
      for (float& x : query) x = static_cast<float>(random() % 5) - 2;
      for (size_t i = 0; i < kRows; ++i) {
        const double similarity = Similarity(metric, query.data(), &rows[i * kD], kD);
        scores[i] = static_cast<float>(metric == index::Metric::kL2 ? -similarity : similarity);
      }
      const auto order = ChooseDiverseHits(metric, rows, kD, scores, lambda, 20, Ok);
      ASSERT_TRUE(order.ok());
      EXPECT_EQ(*order, ByDefinition(metric, rows, kD, query, lambda, 20)) << lambda;
    }
  }
}

TEST(DiverseHitsTest, LeavesOutTwins) {
  const std::vector<float> rows = {1, 0, 1, 0, .8f, .6f, 0, 1}, scores = {1, 1, .8f, 0};
  const auto order = ChooseDiverseHits(index::Metric::kInnerProduct, rows, 2, scores, .5, 3, Ok);
  ASSERT_TRUE(order.ok());
  EXPECT_THAT(*order,
              ElementsAre(0, 1, 2));  // all are worth 0 then, and of equal ones the earlier wins
  const auto differing =
      ChooseDiverseHits(index::Metric::kInnerProduct, rows, 2, scores, .3, 2, Ok);
  EXPECT_THAT(*differing, ElementsAre(0, 3));
  const auto near = ChooseDiverseHits(index::Metric::kInnerProduct, rows, 2, scores, 1, 9, Ok);
  EXPECT_THAT(*near, ElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(ChooseDiverseHits(index::Metric::kL2, {}, 2, {}, .5, 3, Ok)->empty());
}

TEST(DiverseHitsTest, StopsWhenAsked) {
  const std::vector<float> rows = {1, 2, 3}, scores = {1, 2, 3};
  int calls = 0;
  const auto stop = [&] {
    return ++calls == 2 ? absl::CancelledError("enough") : absl::OkStatus();
  };
  EXPECT_EQ(ChooseDiverseHits(index::Metric::kL2, rows, 1, scores, .5, 3, stop).status().message(),
            "enough");
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace vecino::engine
