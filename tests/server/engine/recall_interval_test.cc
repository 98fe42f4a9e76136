// Whether 95% intervals hold what they say.
#include "server/engine/recall_interval.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace vecino::engine {
namespace {

using Random = std::mt19937_64;
using Draw = std::function<double(Random&)>;

double Uniform(Random& random) { return std::uniform_real_distribution<>()(random); }

// Recalls of single searches as they occur: most find everything, and what is missed is missed by
// few.
struct Distribution {
  const char* name;
  Draw draw;
};
const Distribution kDistributions[] = {
    // 15% of the searches for 10 find 3 to 9 of them.
    {"skewed", [](Random& r) { return Uniform(r) < .85 ? 1.0 : (3 + r() % 7) / 10.0; }},
    {"rarely bad", [](Random& r) { return Uniform(r) < .97 ? 1.0 : (3 + r() % 7) / 10.0; }},
    {"very rarely bad", [](Random& r) { return Uniform(r) < .99 ? 1.0 : r() % 10 / 10.0; }},
    // 3% find nothing, 17% miss one.
    {"lost queries",
     [](Random& r) {
       const double u = Uniform(r);
       return u < .03 ? 0 : u < .2 ? .9 : 1.0;
     }},
    {"k = 1", [](Random& r) { return Uniform(r) < .95 ? 1.0 : 0.0; }},
    {"far under target", [](Random& r) { return (2 + r() % 8) / 10.0; }},
};

double MeanOf(const Draw& draw) {
  Random random(99);
  double sum = 0;
  constexpr int kMany = 1'000'000;
  for (int i = 0; i < kMany; ++i) sum += draw(random);
  return sum / kMany;
}

// The part of `windows` windows of n searches whose interval holds the truth.
double Coverage(const Draw& draw, double truth, int n, int windows, uint64_t seed) {
  Random random(seed);
  int covered = 0;
  for (int w = 0; w < windows; ++w) {
    RecallSums sums;
    for (int i = 0; i < n; ++i) sums.Add(draw(random));
    const RecallInterval interval = IntervalOf(sums);
    covered += interval.lower <= truth && truth <= interval.upper;
  }
  return static_cast<double>(covered) / windows;
}

TEST(RecallIntervalTest, HoldsTheTruthIn200Windows) {
  for (const Distribution& distribution : kDistributions) {
    const double truth = MeanOf(distribution.draw);
    for (const int n : {50, 100, 200, 1000}) {
      const double coverage = Coverage(distribution.draw, truth, n, 200, 5);
      EXPECT_GE(coverage, 0.93) << distribution.name << ", " << n << " searches";
    }
  }
}

// And it is no luck: over so many windows the chance of a window is known to .3%.
TEST(RecallIntervalTest, HoldsTheTruthInThousandsOfWindows) {
  for (const Distribution& distribution : kDistributions) {
    const double truth = MeanOf(distribution.draw);
    for (const int n : {50, 100, 200}) {
      const double coverage = Coverage(distribution.draw, truth, n, 5000, 6);
      EXPECT_GE(coverage, 0.94) << distribution.name << ", " << n << " searches";
      RecordProperty(std::string(distribution.name) + " " + std::to_string(n),
                     std::to_string(coverage));
    }
  }
}

// Neighbours of one search are not so many trials: an interval that took them for that would be too
// narrow by far, where searches find all or nothing.
TEST(RecallIntervalTest, CountsSearchesAndNotNeighbours) {
  RecallSums all_or_nothing, spread;
  for (int i = 0; i < 100; ++i) {
    all_or_nothing.Add(i < 90 ? 1 : 0);
    spread.Add(0.9);
  }
  const RecallInterval wide = IntervalOf(all_or_nothing), narrow = IntervalOf(spread);
  // Wilson's interval of 90 of 100.
  EXPECT_NEAR(wide.lower, 0.8256, 0.0005);
  EXPECT_NEAR(wide.upper, 0.9448, 0.0005);
  EXPECT_LT(narrow.upper - narrow.lower, (wide.upper - wide.lower) / 2);
  EXPECT_LT(narrow.lower, 0.9);
  EXPECT_GT(narrow.upper, 0.9);
}

TEST(RecallIntervalTest, IsSureOfNothingWithoutSearchesAndNeverBeyondOne) {
  EXPECT_EQ(IntervalOf({}).lower, 0);
  EXPECT_EQ(IntervalOf({}).upper, 1);
  RecallSums perfect;
  for (int i = 0; i < 50; ++i) perfect.Add(1);
  EXPECT_EQ(IntervalOf(perfect).upper, 1);
  EXPECT_NEAR(IntervalOf(perfect).lower, 50 / (50 + 3.8415), 1e-4);
  RecallSums nothing;
  for (int i = 0; i < 50; ++i) nothing.Add(0);
  EXPECT_EQ(IntervalOf(nothing).lower, 0);
  EXPECT_LT(IntervalOf(nothing).upper, 0.08);
}

}  // namespace
}  // namespace vecino::engine
