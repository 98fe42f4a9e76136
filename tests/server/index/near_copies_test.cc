#include "server/index/near_copies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "server/index/calibration_rows.h"
#include "server/index/tombstones.h"
#include "tests/server/index/index_fixture.h"

namespace vecino::index {
namespace {

// Of neighbours that lie evenly in so many dimensions, the outermost of 60 at distance 1, with some
// copies before them at a squared distance.
std::vector<float> Even(double dimension, size_t copies = 0, float at = 0) {
  std::vector<float> squares(copies, at);
  for (size_t i = copies; i < NearCopyRule::kKnown; ++i) {
    const double part = static_cast<double>(i + 1) / NearCopyRule::kKnown;
    squares.push_back(static_cast<float>(std::pow(part, 2 / dimension)));
  }
  return squares;
}

size_t Count(const std::vector<bool>& copies) {
  return static_cast<size_t>(std::count(copies.begin(), copies.end(), true));
}

TEST(NearCopies, AreNotWhatLiesEvenlyInAnyDimension) {
  for (const double dimension : {1.0, 2.0, 3.0, 8.0, 20.0, 64.0}) {
    const std::vector<std::vector<float>> squares(50, Even(dimension));
    const NearCopyRule rule = NearCopyRule::Fit(squares);
    EXPECT_NEAR(rule.dimension(), dimension, 0.01 * dimension);
    EXPECT_EQ(Count(rule.Find(squares[0])), 0u) << dimension;
  }
}

// Where most rows lie in many dimensions, some that lie in few are judged by these.
TEST(NearCopies, AreToldByTheLesserDimension) {
  std::vector<std::vector<float>> squares(60, Even(20));
  squares.resize(100, Even(3));
  const NearCopyRule rule = NearCopyRule::Fit(squares);
  EXPECT_NEAR(rule.dimension(), 20, 0.2);
  EXPECT_EQ(Count(rule.Find(Even(3))), 0u);
  EXPECT_EQ(Count(rule.Find(Even(3, 4, 1e-5f))), 4u);
}

// Drawn rows lie unevenly: by chance a neighbour in a thousand passes for a copy.
TEST(NearCopies, AreHardlyAnyOfDrawnRows) {
  std::mt19937 random(4);
  for (const int d : {2, 5, 20}) {
    std::vector<std::vector<float>> squares;
    std::vector<std::vector<float>> rows;
    for (int i = 0; i < 3000; ++i) rows.push_back(RandomVector(random, static_cast<size_t>(d)));
    for (int q = 0; q < 200; ++q) {
      std::vector<float>& of_query = squares.emplace_back();
      for (int i = 200; i < 3000; ++i) {
        of_query.push_back(static_cast<float>(
            ExactScore(Metric::kL2, rows[q].data(), rows[i].data(), static_cast<size_t>(d))));
      }
      std::sort(of_query.begin(), of_query.end());
      of_query.resize(NearCopyRule::kKnown);
    }
    const NearCopyRule rule = NearCopyRule::Fit(squares);
    size_t found = 0;
    for (const std::vector<float>& of_query : squares) found += Count(rule.Find(of_query));
    EXPECT_LE(found, 8u) << d;
  }
}

TEST(NearCopies, AreThoseThatAreNearerThanChancePutsThem) {
  std::vector<std::vector<float>> squares(50, Even(20));
  const NearCopyRule rule = NearCopyRule::Fit(squares);
  for (const size_t copies : {1, 2, 9, 12, 28}) {
    for (const float at : {0.0f, 0.2f, 0.33f}) {
      const std::vector<bool> found = rule.Find(Even(20, copies, at));
      ASSERT_EQ(found.size(), NearCopyRule::kMost);
      for (size_t i = 0; i < found.size(); ++i)
        EXPECT_EQ(found[i], i < copies) << copies << ' ' << i;
    }
  }
  // Where the limit for the last of them is passed and that for the first is not.
  const std::vector<bool> at_limit = rule.Find(Even(20, 5, 0.36f));
  for (size_t i = 0; i < at_limit.size(); ++i) EXPECT_EQ(at_limit[i], i < 5) << i;
  // As near as the nearest of 60 may well be.
  EXPECT_EQ(Count(rule.Find(Even(20, 1, 0.6f))), 0u);
}

TEST(NearCopies, AreNoneWhereNothingTells) {
  const NearCopyRule rule = NearCopyRule::Fit(std::vector<std::vector<float>>(50, Even(20)));
  EXPECT_EQ(Count(rule.Find({})), 0u);
  EXPECT_EQ(Count(rule.Find(std::vector<float>(20, 0.0f))), 0u);  // too few to compare with
  EXPECT_EQ(Count(rule.Find(std::vector<float>(60, 0.0f))), 0u);  // all are equal
  for (const auto& squares : {std::vector<float>{}, std::vector<float>(10, 1.0f),
                              std::vector<float>(60, 0.0f), std::vector<float>(60, 1.0f)}) {
    const NearCopyRule off = NearCopyRule::Fit(std::vector<std::vector<float>>(5, squares));
    EXPECT_EQ(off.dimension(), 0);
    EXPECT_EQ(Count(off.Find(Even(20, 5, 0))), 0u);
  }
}

TEST(NearCopies, DistancesAreOfRowsThatCanBeCompared) {
  const float row[2] = {1, 0}, other[2] = {0, 1}, longer[2] = {3, 4};
  using Squares = std::vector<float>;
  EXPECT_EQ(SquaredDistances(Metric::kInnerProduct, row, {other, row}, 2), (Squares{2, 0}));
  EXPECT_EQ(SquaredDistances(Metric::kInnerProduct, row, {other, longer}, 2), Squares());
  EXPECT_EQ(SquaredDistances(Metric::kL2, row, {other, longer}, 2), (Squares{2, 20}));
  EXPECT_EQ(SquaredDistances(Metric::kL2, row, {}, 2), Squares());
}

// In two segments with dead rows: each row twice, in either segment.
TEST(NearCopies, AreTakenOutOfTheBestOfAllAndOfShares) {
  constexpr size_t kD = 16, kRows = 3000;
  const std::vector<float> rows = ClusteredRows(kRows, kD, /*unit=*/true, 3, 1);
  const std::unique_ptr<ShardIndex> one = IndexOf(Metric::kInnerProduct, rows, kD);
  const std::unique_ptr<ShardIndex> two = IndexOf(Metric::kInnerProduct, rows, kD);
  const auto first = one->FreezeForDrain(1), second = two->FreezeForDrain(1);
  auto generation = TrainGeneration(*first, Metric::kInnerProduct, true, kD, {.id = 1}, GoOn);
  ASSERT_TRUE(generation.ok()) << generation.status();
  const auto a = IvfSegment::Build(*first, *generation, "", GoOn);
  const auto b = IvfSegment::Build(*second, *generation, "", GoOn);
  ASSERT_TRUE(a.ok() && b.ok());
  Tombstones dead((*b)->size());
  for (int64_t slot = 0; slot < dead.slots(); slot += 3) dead.Kill(slot);
  const std::vector<CalibrationPart> parts = {{a->get()}, {b->get(), &dead}};
  const AllRows all(parts);
  const std::vector<int64_t> queries = all.Draw(100, 1);
  auto best = BestOfAll(all, queries, static_cast<int>(NearCopyRule::kKnown), GoOn, 1);
  ASSERT_TRUE(best.ok()) << best.status();
  const BestRows before = *best;
  const BestRows copies = TakeNearCopies(all, queries, &*best);
  const RandomShare share(0.2, 7);
  const auto of_share = BestOfShare(all, share, queries, copies, 10, GoOn, 1);
  ASSERT_TRUE(of_share.ok()) << of_share.status();
  size_t living = 0;
  for (size_t i = 0; i < queries.size(); ++i) {
    // The same row of the other segment, unless it is dead there.
    const bool lives = all.vector(before[i][0])[0] == all.vector(queries[i])[0];
    living += lives;
    ASSERT_EQ(copies[i].size(), lives ? 1 : 0) << i;
    if (lives) {
      EXPECT_EQ(copies[i][0], before[i][0]);
    }
    ASSERT_EQ((*best)[i].size(), before[i].size() - copies[i].size());
    EXPECT_EQ((*best)[i][0], before[i][copies[i].size()]);
    ASSERT_EQ((*of_share)[i].size(), 10u);
    for (const int64_t row : (*of_share)[i]) {
      EXPECT_TRUE(share.Has(row));
      EXPECT_FALSE(all.IsDead(row));
      EXPECT_NE(row, queries[i]);
      if (lives) {
        EXPECT_NE(row, copies[i][0]);
      }
    }
  }
  EXPECT_GT(living, 40u);
  EXPECT_LT(living, 100u);
}

}  // namespace
}  // namespace vecino::index
