#include "server/index/near_copies.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace vecino::index {
namespace {

// Rows at given distances from (0, 0).
std::vector<bool> AtDistances(const std::vector<float>& distances) {
  std::vector<std::vector<float>> rows;
  for (const float distance : distances) {
    const float angle = static_cast<float>(rows.size());
    rows.push_back({distance * std::cos(angle), distance * std::sin(angle)});
  }
  std::vector<const float*> best;
  for (const std::vector<float>& row : rows) best.push_back(row.data());
  const float origin[2] = {0, 0};
  return FindNearCopies(origin, best, 2);
}

TEST(NearCopies, AreNearerThanHalfTheSquaredDistanceOfTheTenth) {
  std::vector<float> distances = {0, .5f, .7f, .71f, .8f, .9f, .95f, .96f, .97f, 1, .1f};
  const std::vector<bool> copies = AtDistances(distances);
  ASSERT_EQ(copies.size(), kNearCopyRank);  // the eleventh is not looked at
  for (size_t i = 0; i < copies.size(); ++i) EXPECT_EQ(copies[i], i < 3) << i;
}

TEST(NearCopies, OfFewRowsTheLastIsTheMeasure) {
  EXPECT_EQ(AtDistances({}), std::vector<bool>());
  EXPECT_EQ(AtDistances({.3f}), std::vector<bool>{false});
  EXPECT_EQ(AtDistances({.3f, 1}), (std::vector<bool>{true, false}));
}

TEST(NearCopies, RowsThatAreAllEqualAreNone) {
  EXPECT_EQ(AtDistances(std::vector<float>(20, 0)), std::vector<bool>(kNearCopyRank));
}

}  // namespace
}  // namespace vecino::index
