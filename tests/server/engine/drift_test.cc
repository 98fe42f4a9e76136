#include "server/engine/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vecino::engine {
namespace {

using ::testing::HasSubstr;
using Kind = MaintenanceStep::Kind;

// An AUTO shard of 100,000 rows, trained on as many, with 20,000 new ones that are alike.
MaintenanceState Steady() {
  MaintenanceState state;
  MaintenanceState::Segment segment;
  segment.kind = index::SegmentKind::kIvf;
  segment.rows = 100'000;
  segment.generation = 7;
  segment.since = absl::UnixEpoch();
  state.segments = {segment};
  state.spec.graph = false;
  state.now = absl::UnixEpoch() + absl::Hours(1);
  state.generation = 7;
  state.trained_rows = state.calibrated_rows = 100'000;
  state.base_error = 0.5;
  state.recent_error = 0.51;
  state.recent_rows = 20'000;
  state.base_imbalance = 1.3;
  state.imbalance = 1.4;
  state.base_quantization = 0.2;
  state.recent_quantization = 0.21;
  return state;
}

DriftSignal SignalOf(Drift drift, const MaintenanceState& state) {
  return MeasureDrift(state, {})[static_cast<size_t>(drift)];
}

TEST(DriftTest, EachSignalHasANameAFigureAndALimit) {
  const MaintenancePolicy policy;
  const auto signals = MeasureDrift(Steady(), policy);
  const char* const names[] = {"growth",        "imbalance",          "assignment_error",
                               "deleted_share", "quantization_error", "recall"};
  const double values[] = {1, 1.4 / 1.3, 0.51 / 0.5, 0, 0.21 / 0.2, 0};
  const double limits[] = {
      policy.max_growth,     policy.max_imbalance_growth,    policy.max_error_growth,
      policy.max_dead_share, policy.max_quantization_growth, 0};
  for (size_t i = 0; i < kDriftSignals; ++i) {
    EXPECT_STREQ(signals[i].name, names[i]);
    EXPECT_NEAR(signals[i].value, values[i], 1e-9) << names[i];
    EXPECT_EQ(signals[i].limit, limits[i]) << names[i];
    EXPECT_FALSE(signals[i].due) << names[i];
  }
  EXPECT_EQ(NextStep(Steady(), policy).kind, Kind::kNone);
}

TEST(DriftTest, BeforeTheFirstTrainingNothingDriftsButRowsDie) {
  MaintenanceState state = Steady();
  state.generation = 0;
  state.segments[0].dead = 30'000;
  for (const DriftSignal& signal : MeasureDrift(state, {})) {
    EXPECT_EQ(signal.due, std::string(signal.name) == "deleted_share") << signal.name;
  }
  EXPECT_NEAR(SignalOf(Drift::kDeletedShare, state).value, 0.3, 1e-9);
}

// What makes each signal due, and what the reason then names.
TEST(DriftTest, AReasonNamesTheSignalAndItsFigures) {
  struct Case {
    Drift drift;
    void (*spoil)(MaintenanceState*);
    const char* says;
  };
  const Case cases[] = {
      {Drift::kGrowth, [](MaintenanceState* s) { s->segments[0].rows = 300'000; },
       "growth 3 is above 2.5: 300000 rows, 100000 when generation 7 was trained"},
      {Drift::kAssignmentError, [](MaintenanceState* s) { s->recent_error = 0.6; },
       "assignment_error 1.2 is above 1.15: the last 20000 rows lie 0.6"},
      {Drift::kImbalance, [](MaintenanceState* s) { s->imbalance = 3.9; },
       "imbalance 3 is above 2: imbalance of lists rose from 1.3 to 3.9"},
      {Drift::kQuantizationError, [](MaintenanceState* s) { s->recent_quantization = 0.4; },
       "quantization_error 2 is above"},
      {Drift::kRecall,
       [](MaintenanceState* s) {
         s->recall = {.lower = 0.9, .upper = 0.93, .target = 0.95, .samples = 400, .oldest = {}};
       },
       "recall 0.9 is below 0.95: 400 live searches found 0.900 to 0.930, asked for 0.950"},
  };
  for (const Case& one : cases) {
    MaintenanceState state = Steady();
    one.spoil(&state);
    EXPECT_TRUE(SignalOf(one.drift, state).due) << one.says;
    const MaintenanceStep step = NextStep(state, {});
    EXPECT_EQ(step.kind, Kind::kRetrain) << one.says;
    EXPECT_THAT(step.why, HasSubstr(one.says));
    EXPECT_EQ(step.for_recall, one.drift == Drift::kRecall);
  }
}

TEST(DriftTest, RecallShowsItsLowerEndFromFiftySearchesOnBesideTheTarget) {
  MaintenanceState state = Steady();
  state.recall = {.lower = 0.88, .upper = 0.97, .target = 0.95, .samples = 49, .oldest = {}};
  EXPECT_EQ(SignalOf(Drift::kRecall, state).value, 0);
  EXPECT_EQ(SignalOf(Drift::kRecall, state).limit, 0);
  state.recall.samples = 50;
  EXPECT_EQ(SignalOf(Drift::kRecall, state).value, 0.88);
  EXPECT_EQ(SignalOf(Drift::kRecall, state).limit, 0.95);
  // Under the target, as it is for an index that keeps it: nothing to be done.
  EXPECT_FALSE(SignalOf(Drift::kRecall, state).due);
  EXPECT_EQ(NextStep(state, {}).kind, Kind::kNone);
  state.generation = 0;
  EXPECT_EQ(SignalOf(Drift::kRecall, state).value, 0);
}

TEST(DriftTest, RecallIsDueWhenThePromiseIsSurelyBroken) {
  MaintenanceState state = Steady();
  const auto due = [&](double lower, double upper, int64_t samples) {
    state.recall = {
        .lower = lower, .upper = upper, .target = 0.95, .samples = samples, .oldest = {}};
    return SignalOf(Drift::kRecall, state).due;
  };
  EXPECT_FALSE(due(0.80, 0.939, 99));
  EXPECT_TRUE(due(0.80, 0.939, 100));
  EXPECT_FALSE(due(0.80, 0.941, 100));
  EXPECT_FALSE(due(0.90, 0.945, 400));  // its middle is under .94, but it may well be above
  EXPECT_TRUE(due(0.927, 0.946, 800));
  EXPECT_FALSE(due(0.927, 0.946, 99));
  EXPECT_FALSE(due(0.926, 0.947, 800));  // too wide
  EXPECT_FALSE(due(0.932, 0.949, 800));  // most of it is above .94, though not of the target
}

TEST(DriftTest, RowsAreUnchangedUntilATwentiethCameOrWent) {
  MaintenanceState state = Steady();
  state.recent_rows = 5'000;
  EXPECT_TRUE(AreRowsUnchanged(state, {}));
  EXPECT_FALSE(HasDrifted(state, {}));
  state.recent_rows = 5'001;  // updates, as there are no more rows than before
  EXPECT_FALSE(AreRowsUnchanged(state, {}));
  state.recent_rows = 0;
  state.segments[0].dead = 5'001;
  EXPECT_FALSE(AreRowsUnchanged(state, {}));
  state.segments[0].dead = 30'000;  // a merge's business
  EXPECT_FALSE(HasDrifted(state, {}));
  state.segments[0] = Steady().segments[0];
  state.segments[0].rows = 300'000;
  EXPECT_TRUE(HasDrifted(state, {}));
  EXPECT_FALSE(AreRowsUnchanged({}, {}));
}

TEST(DriftTest, ARejectedRetrainIsNotTriedAgainBeforeItsTime) {
  MaintenanceState state = Steady();
  state.segments[0].rows = 300'000;
  state.calibrated_rows = 300'000;
  state.retrain_not_before = state.now + absl::Minutes(2);
  MaintenanceStep step = NextStep(state, {});
  EXPECT_EQ(step.kind, Kind::kNone);
  EXPECT_EQ(step.look_again, state.retrain_not_before);
  EXPECT_TRUE(SignalOf(Drift::kGrowth, state).due);  // it is told all the same
  // Other work goes on meanwhile.
  state.segments.resize(10, state.segments[0]);
  EXPECT_EQ(NextStep(state, {}).kind, Kind::kMerge);
  state.segments.resize(1);
  state.now = state.retrain_not_before;
  EXPECT_EQ(NextStep(state, {}).kind, Kind::kRetrain);
}

TEST(DriftTest, ARetrainForRecallWaitsOfItsOwn) {
  MaintenanceState state = Steady();
  state.recall = {.lower = 0.8, .upper = 0.9, .target = 0.95, .samples = 500, .oldest = {}};
  state.recall_not_before = state.now + absl::Seconds(30);
  EXPECT_EQ(NextStep(state, {}).kind, Kind::kNone);
  EXPECT_EQ(NextStep(state, {}).look_again, state.recall_not_before);
  state.segments[0].rows = 300'000;  // due for another reason
  EXPECT_EQ(NextStep(state, {}).kind, Kind::kRetrain);
  EXPECT_FALSE(NextStep(state, {}).for_recall);
}

TEST(DriftTest, AFirstTrainingThatWasRejectedWaitsToo) {
  MaintenanceState state;
  MaintenanceState::Segment flat;
  flat.rows = 20'000;
  state.segments = {flat};
  state.now = absl::UnixEpoch();
  EXPECT_EQ(NextStep(state, {}).kind, Kind::kRetrain);
  state.retrain_not_before = state.now + absl::Minutes(1);
  EXPECT_EQ(NextStep(state, {}).kind, Kind::kNone);
  EXPECT_EQ(NextStep(state, {}).look_again, state.retrain_not_before);
}

}  // namespace
}  // namespace vecino::engine
