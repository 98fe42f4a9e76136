#include "server/index/probe_rule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace vecino::index {
namespace {

constexpr size_t kLists = 1000;

// Gaps that rise with the logarithm of the rank by `slope`.
std::vector<float> Gaps(double slope, size_t lists = kLists) {
  std::vector<float> gaps;
  for (size_t rank = 1; rank <= lists; ++rank) {
    gaps.push_back(static_cast<float>(slope * std::log(static_cast<double>(rank))));
  }
  return gaps;
}

// Where gaps rise fast the neighbours are in few lists, where they rise slowly in many.
std::vector<ProbeRule::Observation> Observations(size_t lists = kLists) {
  std::mt19937 random(1);
  std::vector<ProbeRule::Observation> all;
  for (int i = 0; i < 400; ++i) {
    const double slope = 0.02 * (1 + i % 5);
    ProbeRule::Observation one = {.gaps = Gaps(slope, lists), .ranks = {}};
    for (int j = 0; j < 10; ++j) {
      std::exponential_distribution<double> rank(slope);
      one.ranks.push_back(static_cast<uint32_t>(rank(random)));
    }
    all.push_back(one);
  }
  return all;
}

// How many of ascending gaps the definition says are scanned.
size_t Scanned(const ProbeRule& rule, const std::vector<float>& gaps, double breadth) {
  size_t n = 0;
  while (n < gaps.size() && gaps[n] + rule.weight() * std::log(static_cast<double>(n + 1)) <=
                                rule.Threshold(breadth)) {
    ++n;
  }
  return n;
}

size_t Below(const std::vector<float>& gaps, float cut) {
  return static_cast<size_t>(
      std::count_if(gaps.begin(), gaps.end(), [&](float gap) { return gap < cut; }));
}

TEST(ProbeRule, FindsAsMuchWithFewerLists) {
  const auto observations = Observations();
  const ProbeRule rule = ProbeRule::Fit(observations, 0.95);
  ASSERT_TRUE(rule.on());
  EXPECT_GT(rule.weight(), 0);
  // Found, and looked at, by the rule and by a fixed number of lists.
  constexpr double kBreadth = 60;
  const double fixed = std::ceil(kBreadth * rule.fixed());
  double found = 0, found_fixed = 0, scanned = 0;
  for (const auto& query : observations) {
    const size_t lists = Below(query.gaps, rule.Cut(query.gaps.data(), query.gaps.size(), 60));
    scanned += static_cast<double>(lists);
    for (const uint32_t rank : query.ranks) {
      found += rank < lists;
      found_fixed += rank < fixed;
    }
  }
  EXPECT_GT(found, 0.98 * found_fixed);
  EXPECT_LT(scanned / static_cast<double>(observations.size()), 0.9 * fixed);
}

TEST(ProbeRule, ATypicalQueryScansTheBreadth) {
  const ProbeRule rule = ProbeRule::Fit(Observations(), 0.95);
  ASSERT_TRUE(rule.on());
  const std::vector<float> typical = Gaps(0.06);  // the mean of all
  for (const double breadth : {1, 2, 7, 30, 100, 400}) {
    EXPECT_NEAR(static_cast<double>(Scanned(rule, typical, breadth)), breadth, 1 + 0.02 * breadth);
  }
  for (double breadth = 1; breadth < 5000; breadth *= 1.5) {
    EXPECT_LT(rule.Threshold(breadth), rule.Threshold(1.5 * breadth)) << breadth;
  }
}

TEST(ProbeRule, CutIsWhereTheDefinitionEnds) {
  const ProbeRule rule = ProbeRule::Fit(Observations(), 0.95);
  ASSERT_TRUE(rule.on());
  std::mt19937 random(2);
  for (const double slope : {0.03, 0.05, 0.08}) {
    std::vector<float> gaps = Gaps(slope);
    for (const double breadth : {10, 50, 150}) {
      const auto wanted = static_cast<double>(Scanned(rule, gaps, breadth));
      if (wanted > ProbeRule::kMost * breadth || wanted < breadth / ProbeRule::kLeast) continue;
      std::vector<float> shuffled = gaps;
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      const float cut = rule.Cut(shuffled.data(), shuffled.size(), breadth);
      // Bins are a 256th of the threshold wide.
      EXPECT_NEAR(static_cast<double>(Below(shuffled, cut)), wanted, 2 + 0.1 * wanted)
          << slope << " " << breadth;
    }
  }
}

TEST(ProbeRule, NeitherNoListNorAll) {
  const ProbeRule rule = ProbeRule::Fit(Observations(), 0.95);
  ASSERT_TRUE(rule.on());
  // All as near as the nearest; one near and the others far; beyond what floats can tell.
  const std::vector<float> equal(kLists, 0);
  EXPECT_GT(Below(equal, rule.Cut(equal.data(), equal.size(), 20)), 0u);
  std::vector<float> alone(kLists, 1e30f);
  alone[77] = 0;
  EXPECT_EQ(Below(alone, rule.Cut(alone.data(), alone.size(), 20)), 1u);
  std::vector<float> odd(kLists, std::numeric_limits<float>::infinity());
  odd[5] = 0;
  odd[6] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Below(odd, rule.Cut(odd.data(), odd.size(), 20)), 1u);
  // Told apart by the bins, but nearer than they ever are.
  const ProbeRule light(0.005f, 1, rule.gaps());
  const std::vector<float> flat = Gaps(0.02);
  EXPECT_GT(Scanned(light, flat, 20), size_t{ProbeRule::kMost * 20});
  EXPECT_LE(Below(flat, light.Cut(flat.data(), flat.size(), 20)), size_t{ProbeRule::kMost * 20});
  const float one = 0;
  EXPECT_GT(rule.Cut(&one, 1, 1), 0);
}

TEST(ProbeRule, IsOffWhereThereIsLittleToLearn) {
  EXPECT_FALSE(ProbeRule::Fit({}, 0.95).on());
  EXPECT_FALSE(ProbeRule::Fit(Observations(/*lists=*/63), 0.95).on());
  // The same for every query: a fixed number is as good.
  std::vector<ProbeRule::Observation> alike(100, {.gaps = Gaps(0.05), .ranks = {3, 9, 20, 50}});
  EXPECT_FALSE(ProbeRule::Fit(alike, 0.95).on());
  // Nothing tells lists apart.
  for (auto& one : alike) one.gaps.assign(kLists, 0);
  EXPECT_FALSE(ProbeRule::Fit(alike, 0.95).on());
}

TEST(ProbeRule, NumbersThatCannotBeAreNoRule) {
  EXPECT_TRUE(ProbeRule(0.1f, 1.5f, {0, 0.1f, 0.2f}).on());
  EXPECT_FALSE(ProbeRule(0, 1.5f, {0, 0.1f, 0.2f}).on());
  EXPECT_FALSE(ProbeRule(NAN, 1.5f, {0, 0.1f, 0.2f}).on());
  EXPECT_FALSE(ProbeRule(0.1f, -1, {0, 0.1f, 0.2f}).on());
  EXPECT_FALSE(ProbeRule(0.1f, 1.5f, {0, 0.3f, 0.2f}).on());
  EXPECT_FALSE(ProbeRule(0.1f, 1.5f, {0, INFINITY}).on());
  EXPECT_FALSE(ProbeRule(0.1f, 1.5f, {0, NAN, 0.2f}).on());
  EXPECT_FALSE(ProbeRule(0.1f, 1.5f, {0}).on());
  EXPECT_EQ(ProbeRule().fixed(), 1);
}

TEST(ProbeRule, GapsDoNotGrowWithTheQuery) {
  std::vector<float> once = {0.5f, 0.9f, -0.1f, 0.3f, 0.8f}, tenfold;
  for (const float score : once) tenfold.push_back(10 * score);
  ProbeRule::ToGaps(Metric::kInnerProduct, 1, once.data(), once.size());
  ProbeRule::ToGaps(Metric::kInnerProduct, 10, tenfold.data(), tenfold.size());
  const std::vector<float> expected = {0.4f, 0, 1, 0.6f, 0.1f};
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_NEAR(once[i], expected[i], 1e-6);
    EXPECT_NEAR(tenfold[i], expected[i], 1e-6);
  }
  // Squared distances, of which rounding may have made the least negative.
  std::vector<float> squared = {9, -1e-7f, 4};
  ProbeRule::ToGaps(Metric::kL2, 5, squared.data(), squared.size());
  EXPECT_EQ(squared, (std::vector<float>{3, 0, 2}));
  // A query of zeros is as near to all.
  std::vector<float> none = {0, 0, 0};
  ProbeRule::ToGaps(Metric::kInnerProduct, 0, none.data(), none.size());
  EXPECT_EQ(none, (std::vector<float>{0, 0, 0}));
  ProbeRule::ToGaps(Metric::kL2, 0, nullptr, 0);
}

}  // namespace
}  // namespace vecino::index
