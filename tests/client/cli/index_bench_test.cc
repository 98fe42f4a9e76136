// What `vecino bench` makes of what it measured.
#include "client/cli/index_bench.h"

#include <gtest/gtest.h>

namespace vecino::cli {
namespace {

SearchResponse Response(bool higher_is_better, const std::vector<float>& scores) {
  SearchResponse response;
  response.higher_is_better = higher_is_better;
  for (const float score : scores) {
    response.hits.emplace_back();
    response.hits.back().score = score;
  }
  return response;
}

TEST(IndexBenchTest, RecallCountsTiesInTheDirectionOfTheMetric) {
  const SearchResponse near = Response(true, {0.9F, 0.8F, 0.7F, 0.7F});
  EXPECT_DOUBLE_EQ(RecallOf(near, near), 1);
  EXPECT_DOUBLE_EQ(RecallOf(Response(true, {0.9F, 0.7F, 0.7F, 0.6999995F}), near), 1);
  EXPECT_DOUBLE_EQ(RecallOf(Response(true, {0.9F, 0.7F, 0.699F, 0.6F}), near), 0.5);
  EXPECT_DOUBLE_EQ(RecallOf(Response(true, {0.9F}), near), 0.25);
  const SearchResponse distances = Response(false, {1000, 2000});
  EXPECT_DOUBLE_EQ(RecallOf(Response(false, {1000, 2000.001F}), distances), 1);
  EXPECT_DOUBLE_EQ(RecallOf(Response(false, {1000, 2001}), distances), 0.5);
  EXPECT_DOUBLE_EQ(RecallOf(Response(true, {}), Response(true, {})), 1);
}

TEST(IndexBenchTest, BestIsTheFastestWithTheRecall) {
  const auto point = [](double recall, double qps) {
    BenchPoint made;
    made.recall = recall;
    made.qps = qps;
    return made;
  };
  std::vector<BenchKind> kinds(2);
  kinds[0].kind = "flat";
  kinds[0].points = {point(1, 100)};
  kinds[1].kind = "hnsw";
  kinds[1].points = {point(0.94, 900), point(0.95, 500), point(0.99, 200)};
  EXPECT_EQ(BestAt(kinds, 0.95).kind, &kinds[1]);
  EXPECT_EQ(BestAt(kinds, 0.95).point, &kinds[1].points[1]);
  EXPECT_EQ(BestAt(kinds, 0.995).kind, &kinds[0]);
  kinds.pop_back();
  kinds[0].points[0].recall = 0.5;
  EXPECT_EQ(BestAt(kinds, 0.95).point, nullptr);
}

}  // namespace
}  // namespace vecino::cli
