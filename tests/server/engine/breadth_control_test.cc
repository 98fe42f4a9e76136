#include "server/engine/breadth_control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace vecino::engine {
namespace {

// An index whose searches for 10 miss (breadth / right)^-1 of what may be missed, at `right` so
// much that the target of .95 is exceeded by as much as calibration aims for.
class Simulation {
 public:
  // calibrated: the breadth that calibration chose, of the right one.
  explicit Simulation(double calibrated, uint64_t seed = 1)
      : calibrated_(calibrated), random_(seed) {}

  double TrueRecall() const {
    const double breadth = calibrated_ * control_.corrections().Of(10, 1);
    return 1 - std::min(1.0, 0.0375 / breadth);
  }
  // So many searches are measured. Returns how often the factor changed.
  int Run(int searches) {
    int changes = 0;
    for (int i = 0; i < searches; ++i) {
      // A part of the searches is hard and misses half.
      const double hard = std::min(1.0, (1 - TrueRecall()) * 2);
      const double recall = std::uniform_real_distribution<>()(random_) < hard
                                ? static_cast<double>(random_() % 10) / 9
                                : 1.0;
      changes += control_.Add({absl::Now(), 10, 1, recall, 0.95}, control_.epoch()).has_value();
    }
    return changes;
  }
  double factor() const { return control_.corrections().Of(10, 1); }
  BreadthControl& control() { return control_; }

 private:
  const double calibrated_;
  std::mt19937_64 random_;
  BreadthControl control_;
};

TEST(BreadthControlTest, WidensUntilTheTargetIsReachedAndRests) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(0.4, seed);
    EXPECT_LT(simulation.TrueRecall(), 0.92);
    simulation.Run(10'000);
    EXPECT_GE(simulation.TrueRecall(), 0.945) << simulation.factor();
    EXPECT_LE(simulation.factor(), 4);
    // A change now and then is chance; a pendulum would make one every 400 searches, 25.
    EXPECT_LE(simulation.Run(10'000), 8);
    EXPECT_GE(simulation.TrueRecall(), 0.945);
  }
}

// From .69, as of texts that repeat each other, three judgements make up for most of it; steps of
// 1.25 come to .84 at best.
TEST(BreadthControlTest, IsSoonThereFromFarAway) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(0.12, seed);
    EXPECT_LT(simulation.TrueRecall(), 0.7);
    simulation.Run(150);
    EXPECT_GE(simulation.TrueRecall(), 0.86) << simulation.factor();
  }
}

// What may be chance is made up for by a little: at the target half of the means are under it.
TEST(BreadthControlTest, AMeanThatIsUnderTheTargetByChanceWidensALittle) {
  BreadthControl control;
  for (int i = 0; i < 400; ++i) {
    EXPECT_EQ(control.corrections().Of(10, 1), 1) << i;
    control.Add({absl::Now(), 10, 1, i % 20 == 0 ? 0.0 : 0.9995, 0.95}, control.epoch());
  }
  EXPECT_NEAR(control.corrections().Of(10, 1), 1.1, 1e-6);
}

TEST(BreadthControlTest, NarrowsWhatIsTooWideAndNeverUnderTheTarget) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(3, seed);
    simulation.Run(20'000);
    EXPECT_NEAR(simulation.factor(), index::Corrections::kLeast, 1e-6);
    Simulation good(1, seed);
    const int changes = good.Run(20'000);
    EXPECT_LE(changes, 6);
    EXPECT_GE(good.TrueRecall(), 0.945);
    EXPECT_LE(good.factor(), 1.6);
  }
}

TEST(BreadthControlTest, GoesNoFurtherThanItMay) {
  Simulation hopeless(0.05);
  hopeless.Run(20'000);
  EXPECT_EQ(hopeless.factor(), index::Corrections::kMost);
  EXPECT_EQ(hopeless.Run(5'000), 0);
}

TEST(BreadthControlTest, OnlyTheKindThatWasMeasuredChangesAndItIsTold) {
  BreadthControl control;
  std::optional<std::string> told;
  for (int i = 0; i < 50; ++i) {
    EXPECT_FALSE(told.has_value());
    told = control.Add({absl::Now(), 5, 0.05, 0.5, 0.9}, 0);
  }
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(*told,
            "searches for 2 to 10 documents of 1% to 10% of the rows take 2.00 times the breadth "
            "that calibration chose, before 1.00, because 50 of them found 0.500 (0.480 to 0.520) "
            "for a target of 0.900");
  EXPECT_EQ(control.corrections().Of(10, 0.1), 2);
  EXPECT_EQ(control.corrections().Of(10, 1), 1);
  EXPECT_EQ(control.corrections().Of(11, 0.1), 1);
  // Made before the change.
  for (int i = 0; i < 100; ++i) control.Add({absl::Now(), 5, 0.05, 0.5, 0.9}, 0);
  EXPECT_EQ(control.corrections().Of(10, 0.1), 2);
  control.Reset();
  EXPECT_EQ(control.corrections().Of(10, 0.1), 1);
  EXPECT_EQ(control.epoch(), 2u);
}

// Those that are extra widen, but what is narrowed by them may be wrong for the others.
TEST(BreadthControlTest, ExtraSearchesWidenAndDoNotNarrow) {
  BreadthControl control;
  const auto add = [&](int searches, double recall, bool extra) {
    for (int i = 0; i < searches; ++i) {
      // One in a hundred misses something.
      const double found = i % 100 == 99 ? recall - 0.1 : recall;
      control.Add({absl::Now(), 10, 1, found, 0.95, true, extra}, control.epoch());
    }
  };
  add(5000, 1, true);
  EXPECT_EQ(control.corrections().Of(10, 1), 1);
  add(399, 1, false);
  EXPECT_EQ(control.corrections().Of(10, 1), 1);
  add(400, 1, false);
  const double narrower = control.corrections().Of(10, 1);
  EXPECT_LT(narrower, 1);
  add(100, 0.5, true);
  EXPECT_GT(control.corrections().Of(10, 1), narrower);
}

TEST(BreadthControlTest, AKindIsSettledWhenManyWereMeasuredSinceItsFactorWasSet) {
  BreadthControl control;
  const auto add = [&](int searches, double recall) {
    for (int i = 0; i < searches; ++i) {
      control.Add({absl::Now(), 10, 1, recall, 0.95}, control.epoch());
    }
  };
  EXPECT_FALSE(control.IsSettled(10, 1));
  add(399, 1);
  EXPECT_FALSE(control.IsSettled(10, 1));
  add(1, 1);
  EXPECT_TRUE(control.IsSettled(10, 1));
  EXPECT_FALSE(control.IsSettled(10, 0.05));
  EXPECT_FALSE(control.IsSettled(100, 1));
  // The older ones that count half leave enough.
  add(5000, 1);
  EXPECT_TRUE(control.IsSettled(10, 1));
  while (control.corrections().Of(10, 1) == 1) add(1, 0);
  EXPECT_FALSE(control.IsSettled(10, 1));
  add(5000, 1);
  EXPECT_TRUE(control.IsSettled(10, 1));
  control.Reset();
  EXPECT_FALSE(control.IsSettled(10, 1));
}

// Searches that compare all rows find all, whatever the breadth.
TEST(BreadthControlTest, NothingFollowsFromSearchesThatMissNothing) {
  BreadthControl control;
  for (int i = 0; i < 5000; ++i) control.Add({absl::Now(), 10, 1, 1, 0.95}, 0);
  EXPECT_EQ(control.corrections().Of(10, 1), 1);
}

}  // namespace
}  // namespace vecino::engine
