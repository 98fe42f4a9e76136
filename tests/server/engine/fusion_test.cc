#include "server/engine/fusion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vecino::engine {
namespace {

using testing::Eq;
using testing::Optional;

std::vector<uint64_t> Labels(const std::vector<FusedHit>& hits) {
  std::vector<uint64_t> labels;
  for (const FusedHit& hit : hits) labels.push_back(hit.label);
  return labels;
}

TEST(Fuse, RanksAreRewarded) {
  const std::vector<RankedHit> dense = {{0, 1, .9f}, {0, 2, .8f}, {1, 3, .7f}};
  const std::vector<RankedHit> lexical = {{1, 3, 12}, {0, 4, 9}, {0, 2, 8}};
  const auto hits = Fuse(Fusion{.lexical_weight = 1}, dense, lexical);
  ASSERT_EQ(hits.size(), 4u);
  EXPECT_EQ(Labels(hits), (std::vector<uint64_t>{3, 2, 1, 4}));
  EXPECT_FLOAT_EQ(hits[0].score, 1 / 63.f + 1 / 61.f);
  EXPECT_FLOAT_EQ(hits[1].score, 1 / 62.f + 1 / 63.f);
  EXPECT_FLOAT_EQ(hits[2].score, 1 / 61.f);
  EXPECT_EQ(hits[0].shard, 1);
  EXPECT_THAT(hits[0].dense, Optional(Eq(.7f)));
  EXPECT_THAT(hits[0].lexical, Optional(Eq(12)));
  EXPECT_EQ(hits[2].lexical, std::nullopt);
  EXPECT_EQ(hits[3].dense, std::nullopt);
}

TEST(Fuse, WeightsAndTheConstantCount) {
  const std::vector<RankedHit> dense = {{0, 1, .9f}}, lexical = {{0, 2, 3}};
  EXPECT_EQ(Labels(Fuse(Fusion{.dense_weight = 1, .lexical_weight = .5f}, dense, lexical)),
            (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(Labels(Fuse(Fusion{.dense_weight = 1, .lexical_weight = 2}, dense, lexical)),
            (std::vector<uint64_t>{2, 1}));
  EXPECT_FLOAT_EQ(Fuse(Fusion{.rank_constant = 1}, dense, {})[0].score, .5f);
}

TEST(Fuse, ScoresAreScaledBetweenWorstAndBest) {
  Fusion fusion{.method = Fusion::Method::kWeightedScores, .lexical_weight = .5f};
  const std::vector<RankedHit> dense = {{0, 1, 10}, {0, 2, 7}, {0, 3, 6}};
  const std::vector<RankedHit> lexical = {{0, 3, 40}, {0, 4, 20}};
  const auto hits = Fuse(fusion, dense, lexical);
  EXPECT_EQ(Labels(hits), (std::vector<uint64_t>{1, 3, 2, 4}));
  EXPECT_FLOAT_EQ(hits[0].score, 1);
  EXPECT_FLOAT_EQ(hits[1].score, .5f);
  EXPECT_FLOAT_EQ(hits[2].score, .25f);
  EXPECT_FLOAT_EQ(hits[3].score, 0);
}

TEST(Fuse, FallingScoresToo) {
  const Fusion fusion{.method = Fusion::Method::kWeightedScores};
  const std::vector<RankedHit> dense = {{0, 1, 2}, {0, 2, 5}, {0, 3, 6}};  // squared distances
  const auto hits = Fuse(fusion, dense, {});
  EXPECT_EQ(Labels(hits), (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_FLOAT_EQ(hits[0].score, 1);
  EXPECT_FLOAT_EQ(hits[1].score, .25f);
}

TEST(Fuse, EqualScoresComeByLabelThenByShard) {
  const Fusion fusion{.method = Fusion::Method::kWeightedScores};
  const std::vector<RankedHit> dense = {{1, 7, 3}, {0, 7, 3}, {1, 2, 3}};  // all the best
  const auto hits = Fuse(fusion, dense, {});
  EXPECT_EQ(Labels(hits), (std::vector<uint64_t>{2, 7, 7}));
  EXPECT_EQ(hits[1].shard, 0);
  EXPECT_FLOAT_EQ(hits[0].score, 1);
}

TEST(Fuse, Nothing) { EXPECT_TRUE(Fuse(Fusion{}, {}, {}).empty()); }

TEST(FusionCandidates, DefaultsGrowWithTopK) {
  EXPECT_EQ(FusionCandidates(10, Fusion{}), 100);
  EXPECT_EQ(FusionCandidates(80, Fusion{}), 160);
  EXPECT_EQ(FusionCandidates(900, Fusion{}), 1000);
  EXPECT_EQ(FusionCandidates(10, Fusion{.candidates = 25}), 25);
}

}  // namespace
}  // namespace vecino::engine
