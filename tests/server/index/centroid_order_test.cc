#include "server/index/centroid_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace vecino::index {
namespace {

constexpr auto kGoOn = [] { return absl::OkStatus(); };

// `groups` far apart, `each` centroids around each, shuffled: group_of says which is whose.
struct Grouped {
  std::vector<float> centroids;
  std::vector<int> group_of;
};

Grouped MakeGroups(int groups, int each, size_t d) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> centres(groups, std::vector<float>(d));
  for (auto& centre : centres) {
    for (float& x : centre) x = 10 * normal(random);
  }
  Grouped result;
  for (int i = 0; i < groups * each; ++i) result.group_of.push_back(i % groups);
  std::shuffle(result.group_of.begin(), result.group_of.end(), random);
  for (const int group : result.group_of) {
    for (size_t j = 0; j < d; ++j) result.centroids.push_back(centres[group][j] + normal(random));
  }
  return result;
}

int Changes(const Grouped& all, const std::vector<uint32_t>& order) {
  int changes = 0;
  for (size_t i = 1; i < order.size(); ++i) {
    changes += all.group_of[order[i]] != all.group_of[order[i - 1]];
  }
  return changes;
}

void ExpectPermutation(std::vector<uint32_t> order, size_t n) {
  ASSERT_EQ(order.size(), n);
  std::sort(order.begin(), order.end());
  for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(order[i], i);
}

TEST(CentroidOrderTest, NearOnesStandTogether) {
  const Grouped all = MakeGroups(20, 30, 24);
  const auto order = CentroidOrder(all.centroids.data(), 600, 24, kGoOn);
  ASSERT_TRUE(order.ok()) << order.status();
  ExpectPermutation(*order, 600);
  EXPECT_EQ(Changes(all, *order), 19);  // each group is one stretch
}

TEST(CentroidOrderTest, LargeSetsAreSplitFirst) {
  const Grouped all = MakeGroups(50, 100, 8);
  const auto order = CentroidOrder(all.centroids.data(), 5000, 8, kGoOn);
  ASSERT_TRUE(order.ok()) << order.status();
  ExpectPermutation(*order, 5000);
  EXPECT_LT(Changes(all, *order), 75);  // at random there would be 4,900
  EXPECT_EQ(*order, *CentroidOrder(all.centroids.data(), 5000, 8, kGoOn));
}

TEST(CentroidOrderTest, EqualOnesAndFewOnes) {
  const std::vector<float> equal(3000 * 4, 0.5f);
  for (const size_t n : {0, 1, 2, 17, 3000}) {
    const auto order = CentroidOrder(equal.data(), n, 4, kGoOn);
    ASSERT_TRUE(order.ok()) << order.status();
    ExpectPermutation(*order, n);
  }
}

TEST(CentroidOrderTest, StopsWhenTheCheckpointSaysSo) {
  const Grouped all = MakeGroups(2, 1000, 256);
  int calls = 0;
  const auto order = CentroidOrder(all.centroids.data(), 2000, 256, [&] {
    ++calls;
    return absl::CancelledError("enough");
  });
  EXPECT_TRUE(absl::IsCancelled(order.status()));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace vecino::index
