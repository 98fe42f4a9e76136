#include "server/index/top_k.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace vecino::index {
namespace {

TEST(TopK, KeepsTheBestOfMany) {
  for (Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    std::mt19937 rng(7);
    std::vector<Hit> all;
    TopK top(metric, 25);
    for (uint64_t label = 1; label <= 2000; ++label) {
      all.push_back({label, static_cast<float>(rng() % 50)});  // many ties
    }
    std::shuffle(all.begin(), all.end(), rng);
    for (const Hit& hit : all) top.Push(hit.label, hit.score);
    std::sort(all.begin(), all.end(),
              [&](const Hit& a, const Hit& b) { return RanksBefore(metric, a, b); });
    const std::vector<Hit> got = top.Take();
    ASSERT_EQ(got.size(), 25u);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].label, all[i].label);
      EXPECT_EQ(got[i].score, all[i].score);
    }
    EXPECT_TRUE(top.Take().empty());
  }
}

TEST(TopK, EqualScoresComeByAscendingLabel) {
  TopK top(Metric::kL2, 2);
  for (uint64_t label : {9, 3, 7, 5}) top.Push(label, 1.0f);
  const std::vector<Hit> got = top.Take();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].label, 3u);
  EXPECT_EQ(got[1].label, 5u);
}

TEST(TopK, FewerRowsThanKAndNoNaN) {
  TopK top(Metric::kInnerProduct, 1000);
  top.Push(1, std::numeric_limits<float>::quiet_NaN());
  top.Push(2, -1.0f);
  const std::vector<Hit> got = top.Take();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].label, 2u);
}

}  // namespace
}  // namespace vecino::index
