#include "server/engine/retrain_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vecino::engine {
namespace {

using ::testing::HasSubstr;

GateFigures Figures(double before, double after) {
  return {.target = 0.95,
          .queries = 1000,
          .recall_before = before,
          .recall_after = after,
          .rows_before = 10'000,
          .rows_after = 10'000,
          .seconds_before = 100e-6,
          .seconds_after = 100e-6};
}

bool Passes(const GateFigures& figures) { return WhyRejected(figures, {}).empty(); }

TEST(RetrainGate, TheTargetMustBeKept) {
  EXPECT_TRUE(Passes(Figures(0.96, 0.96)));
  EXPECT_TRUE(Passes(Figures(0.945, 0.941)));
  EXPECT_TRUE(Passes(Figures(0.955, 0.949)));  // as much, to the noise
  EXPECT_FALSE(Passes(Figures(0.942, 0.9365)));
  EXPECT_FALSE(Passes(Figures(0.96, 0.939)));
  EXPECT_THAT(WhyRejected(Figures(0.96, 0.9), {}),
              HasSubstr("the new build finds 0.900, the old one 0.960"));
}

TEST(RetrainGate, AboveTheTargetCostCounts) {
  // The promise is kept in full, but the old one would find as little for much less.
  GateFigures figures = Figures(0.99, 0.95);
  EXPECT_TRUE(Passes(figures));
  figures.rows_before_at_equal_recall = 5'000;
  EXPECT_FALSE(Passes(figures));
  EXPECT_THAT(WhyRejected(figures, {}),
              HasSubstr("not better: for as much recall it compares 10000 rows a search, the old "
                        "one 5000"));
  figures.rows_after = 5'400;
  EXPECT_TRUE(Passes(figures));
}

TEST(RetrainGate, BetterThanAnOldOneBelowTargetIsEnough) {
  EXPECT_TRUE(Passes(Figures(0.90, 0.91)));
  EXPECT_FALSE(Passes(Figures(0.90, 0.89)));
  // As much for less is better, too, where the target cannot be had.
  EXPECT_TRUE(Passes(Figures(0.90, 0.90)));
  GateFigures figures = Figures(0.90, 0.896);
  EXPECT_TRUE(Passes(figures));
  figures.rows_after = 10'100;
  EXPECT_FALSE(Passes(figures));
  figures = Figures(0.90, 0.90);
  figures.rows_before = figures.rows_after = 0;  // not known
  EXPECT_FALSE(Passes(figures));
}

TEST(RetrainGate, CostIsComparedAtEqualRecall) {
  GateFigures figures = Figures(0.955, 0.96);
  figures.rows_after = 11'000;
  EXPECT_TRUE(Passes(figures));
  figures.rows_after = 11'100;
  EXPECT_FALSE(Passes(figures));
  EXPECT_THAT(WhyRejected(figures, {}), HasSubstr("compares 11100 rows"));
  figures.rows_at_equal_recall = 10'900;
  EXPECT_TRUE(Passes(figures));
  figures.rows_at_equal_recall = 11'050;
  EXPECT_FALSE(Passes(figures));
  figures.rows_at_equal_recall = 10'900;
  figures.rows_after = 31'000;  // for more recall than anybody asked for
  EXPECT_FALSE(Passes(figures));
  // Kinds that do not count rows are judged by time.
  figures = Figures(0.96, 0.96);
  figures.rows_before = figures.rows_after = 0;
  figures.seconds_after = 149e-6;
  EXPECT_TRUE(Passes(figures));
  figures.seconds_after = 160e-6;
  EXPECT_FALSE(Passes(figures));
  EXPECT_THAT(WhyRejected(figures, {}), HasSubstr("takes 160 µs"));
  figures.seconds_before = 10e-6;
  figures.seconds_after = 40e-6;  // too little to tell
  EXPECT_TRUE(Passes(figures));
}

TEST(RetrainGate, ARepairMayCostMore) {
  GateFigures figures = Figures(0.93, 0.96);  // the old one misses the target
  figures.rows_after = 40'000;
  EXPECT_FALSE(Passes(figures));
  figures.rows_at_equal_recall = 12'400;
  EXPECT_TRUE(Passes(figures));
  figures.seconds_after = 1;
  EXPECT_TRUE(Passes(figures));
  figures.rows_at_equal_recall = 12'600;
  EXPECT_FALSE(Passes(figures));

  figures = Figures(0.955, 0.955);
  figures.rows_after = 12'400;
  EXPECT_FALSE(Passes(figures));
  figures.drifted = true;
  EXPECT_TRUE(Passes(figures));
  figures.rows_after = 12'600;
  EXPECT_FALSE(Passes(figures));
}

// What passes by a tenth each time does not add up.
TEST(RetrainGate, RetrainsOfTheSameRowsDoNotCreep) {
  const MaintenancePolicy policy;
  double rows = 10'000, cheapest = 0;
  int published = 0;
  for (int i = 0; i < 10; ++i) {
    GateFigures figures = Figures(0.955, 0.955);
    figures.unchanged = true;
    figures.rows_before = rows;
    figures.rows_after = 1.09 * rows;
    figures.rows_cheapest = cheapest;
    const std::string why = WhyRejected(figures, policy);
    if (!why.empty()) {
      EXPECT_THAT(why, HasSubstr("an earlier build of the same rows 10000"));
      continue;
    }
    ++published;
    rows = figures.rows_after;
    cheapest = CheapestOf(figures, policy);
    EXPECT_EQ(cheapest, 10'000);
  }
  EXPECT_EQ(published, 2);
  EXPECT_LE(rows, policy.gate_cost_of_same_rows * 10'000);
  // Other rows are another thing, and so is a repair.
  GateFigures figures = Figures(0.955, 0.955);
  figures.rows_before = rows;
  figures.rows_after = 1.09 * rows;
  figures.rows_cheapest = cheapest;
  figures.drifted = true;
  EXPECT_TRUE(Passes(figures));
  EXPECT_EQ(CheapestOf(figures, policy), figures.rows_after);
  // A build that misses the target is no measure.
  figures = Figures(0.90, 0.955);
  figures.unchanged = true;
  figures.rows_before = 5'000;
  EXPECT_EQ(CheapestOf(figures, policy), 10'000);
}

TEST(RetrainGate, OtherSearchesMustNotSuffer) {
  GateFigures figures = Figures(0.955, 0.955);
  figures.others = {{"the best row", 0.97, 0.931}, {"rows under a filter", 0.91, 0.895}};
  EXPECT_TRUE(Passes(figures));
  EXPECT_THAT(DescribeFigures(figures), HasSubstr("; of rows under a filter 0.910 → 0.895"));
  figures.others[0].recall_after = 0.929;
  EXPECT_THAT(WhyRejected(figures, {}),
              HasSubstr("finds 0.929 of the best row, the old one 0.970"));
  figures.others[0].recall_after = 0.97;
  figures.others[1].recall_after = 0.889;
  EXPECT_FALSE(Passes(figures));
}

TEST(RetrainGate, AFirstTrainingMayMissTheTargetBySome) {
  GateFigures figures = Figures(1, 0.91);
  figures.first = true;
  figures.rows_before = 20'000;
  EXPECT_TRUE(Passes(figures));
  // No index: it compares every row.
  figures.rows_after = 19'000;
  EXPECT_FALSE(Passes(figures));
  EXPECT_THAT(WhyRejected(figures, {}), HasSubstr("19000 rows a search of 20000"));
  figures.seconds_after = 80e-6;  // but quicker
  EXPECT_TRUE(Passes(figures));
  figures.rows_after = 10'000;
  figures.recall_after = 0.89;
  EXPECT_FALSE(Passes(figures));
  EXPECT_THAT(WhyRejected(figures, {}), HasSubstr("the first training finds 0.890"));
  figures.queries = 0;  // nothing was measured
  EXPECT_TRUE(Passes(figures));
}

TEST(RetrainGate, TheCallersGateHoldsInAnyCase) {
  GateFigures figures = Figures(0.90, 0.96);
  figures.min_recall = 0.97;
  EXPECT_FALSE(Passes(figures));
  EXPECT_THAT(WhyRejected(figures, {}), HasSubstr("less than the 0.970 that was asked for"));
  figures.min_recall = 0.96;
  EXPECT_TRUE(Passes(figures));
  figures.first = true;
  figures.min_recall = 0.97;
  EXPECT_FALSE(Passes(figures));
  figures.queries = 0;
  figures.recall_after = 0;
  EXPECT_FALSE(Passes(figures));
}

TEST(RetrainGate, FiguresAreToldInASentence) {
  EXPECT_EQ(DescribeFigures(Figures(0.941, 0.968)),
            "recall 0.941 → 0.968 at a target of 0.95, rows compared 10000 → 10000, 100 → 100 µs, "
            "on 1000 queries");
  EXPECT_EQ(DescribeFigures({}), "too few rows to measure");
}

}  // namespace
}  // namespace vecino::engine
