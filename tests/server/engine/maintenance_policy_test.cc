#include "server/engine/maintenance_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <vector>

namespace vecino::engine {
namespace {

using Kind = MaintenanceStep::Kind;
using index::IndexKind;
using index::SegmentKind;

MaintenanceState::Segment Flat(int64_t rows, int64_t dead = 0) {
  MaintenanceState::Segment segment;
  segment.rows = rows;
  segment.dead = dead;
  segment.since = absl::UnixEpoch();
  return segment;
}

MaintenanceState::Segment Ivf(int64_t rows, uint64_t generation, int64_t dead = 0) {
  MaintenanceState::Segment segment = Flat(rows, dead);
  segment.kind = SegmentKind::kIvf;
  segment.generation = generation;
  return segment;
}

MaintenanceState StateOf(IndexKind kind, std::vector<MaintenanceState::Segment> segments) {
  MaintenanceState state;
  state.spec.kind = kind;
  state.segments = std::move(segments);
  state.now = absl::UnixEpoch();
  return state;
}

// An AUTO shard of 100,000 rows that was just trained.
MaintenanceState Trained() {
  MaintenanceState state = StateOf(IndexKind::kAuto, {Ivf(100'000, 7)});
  state.generation = 7;
  state.trained_rows = 100'000;
  state.calibrated_rows = 100'000;
  state.base_error = 0.5;
  state.base_imbalance = 1.3;
  state.imbalance = 1.3;
  return state;
}

MaintenanceStep Next(const MaintenanceState& state) { return NextStep(state, {}); }

TEST(MaintenancePolicy, LeavesAFewCleanSegmentsAlone) {
  EXPECT_EQ(Next(StateOf(IndexKind::kFlat, {})).kind, Kind::kNone);
  EXPECT_EQ(Next(StateOf(IndexKind::kFlat, std::vector(8, Flat(100, 20)))).kind, Kind::kNone);
  EXPECT_EQ(Next(StateOf(IndexKind::kFlat, std::vector(9, Flat(100, 20)))).kind, Kind::kMerge);
}

TEST(MaintenancePolicy, MergesSmallSegmentsOfATrainedShardSooner) {
  MaintenanceState state = Trained();
  state.spec.graph = false;
  state.segments = {Ivf(49'000, 7), Ivf(100'000, 7), Ivf(8'000, 7), Ivf(8'000, 7), Ivf(8'000, 7)};
  state.calibrated_rows = 173'000;
  state.trained_rows = 173'000;
  EXPECT_EQ(Next(state).kind, Kind::kNone) << Next(state).why;
  state.segments.push_back(Ivf(8'000, 7));
  const MaintenanceStep step = Next(state);
  EXPECT_EQ(step.kind, Kind::kMerge);
  EXPECT_EQ(step.first, 2u);
  EXPECT_EQ(step.count, 4u);
  EXPECT_THAT(step.why, testing::HasSubstr("4 segments of fewer than 50000 rows"));
  // A larger one before them may have a graph.
  state.segments = {Ivf(52'000, 7), Ivf(8'000, 7), Ivf(8'000, 7), Ivf(8'000, 7), Ivf(8'000, 7)};
  EXPECT_EQ(Next(state).first, 1u);
  EXPECT_EQ(Next(state).count, 4u);
  state.segments[0].rows = 9'000;
  state.segments[0].graph = true;
  EXPECT_EQ(Next(state).first, 1u);
  // FAISS's kinds are built anew by a merge.
  state.spec.kind = IndexKind::kLsh;
  EXPECT_EQ(Next(state).kind, Kind::kNone) << Next(state).why;
}

TEST(MaintenancePolicy, DrainsBeforeAnythingElse) {
  MaintenanceState state = StateOf(IndexKind::kFlat, std::vector(20, Flat(100)));
  state.frozen_tails = 1;
  EXPECT_EQ(Next(state).kind, Kind::kDrain);
}

TEST(MaintenancePolicy, DrainsAQuietTailOfATrainedShard) {
  MaintenanceState state = Trained();
  state.spec.graph = false;
  state.tail_rows = 300;
  state.last_write = state.now;
  MaintenanceStep step = Next(state);
  EXPECT_EQ(step.kind, Kind::kNone);
  EXPECT_EQ(step.look_again, state.now + absl::Seconds(2));
  state.now += absl::Seconds(2);
  EXPECT_EQ(Next(state).kind, Kind::kDrain);
  state.tail_rows = 255;
  EXPECT_EQ(Next(state).kind, Kind::kNone);
  EXPECT_EQ(Next(state).look_again, absl::InfiniteFuture());
  state = StateOf(IndexKind::kAuto, {Flat(5'000)});
  state.tail_rows = 300;
  EXPECT_EQ(Next(state).kind, Kind::kNone);
}

TEST(MaintenancePolicy, RewritesASegmentWithMuchDead) {
  const MaintenanceStep step =
      Next(StateOf(IndexKind::kFlat, {Flat(100, 5), Flat(100, 21), Flat(100, 90)}));
  EXPECT_EQ(step.kind, Kind::kMerge);
  EXPECT_EQ(step.first, 1u);
  EXPECT_EQ(step.count, 1u);
}

TEST(MaintenancePolicy, MergesTheNewestThatAreAlike) {
  std::vector<MaintenanceState::Segment> segments = {Flat(10000), Flat(1000)};
  for (int i = 0; i < 7; ++i) segments.push_back(Flat(10));
  MaintenanceStep step = Next(StateOf(IndexKind::kFlat, segments));
  EXPECT_EQ(step.first, 2u);
  EXPECT_EQ(step.count, 7u);
  // Steeply falling sizes: the last two all the same, or their number would grow without end.
  segments.clear();
  for (int64_t rows = int64_t{1} << 30; segments.size() < 9; rows /= 8)
    segments.push_back(Flat(rows));
  step = Next(StateOf(IndexKind::kFlat, segments));
  EXPECT_EQ(step.first, 7u);
  EXPECT_EQ(step.count, 2u);
}

// How often a row is copied by merges on its way through so many drains.
double Copies(MaintenanceState state, int drains, const MaintenanceState::Segment& drained) {
  int64_t copied = 0;
  for (int i = 0; i < drains; ++i) {
    state.segments.push_back(drained);
    while (true) {
      const MaintenanceStep step = Next(state);
      if (step.kind != Kind::kMerge) break;
      MaintenanceState::Segment merged = drained;
      merged.rows = 0;
      for (size_t j = step.first; j < step.first + step.count; ++j) {
        merged.rows += state.segments[j].rows;
      }
      copied += merged.rows;
      state.segments.erase(state.segments.begin() + static_cast<ptrdiff_t>(step.first),
                           state.segments.end());
      state.segments.push_back(merged);
    }
    EXPECT_LE(state.segments.size(), 8u);
  }
  return static_cast<double>(copied) / static_cast<double>(drained.rows) / drains;
}

TEST(MaintenancePolicy, CopiesARowALogarithmicNumberOfTimes) {
  EXPECT_LT(Copies(StateOf(IndexKind::kFlat, {}), 4000, Flat(1)), 12);  // log2(4000) is 12
  MaintenanceState state = Trained();
  state.segments.clear();
  state.trained_rows = state.calibrated_rows = 40'000'000;  // so that nothing else is due
  const double copies = Copies(state, 4000, Ivf(8192, 7));
  std::printf("a row is copied %.1f times\n", copies);
  EXPECT_GT(copies, 2);
  EXPECT_LT(copies, 14);
}

TEST(MaintenancePolicy, AutoTrainsOnceThereAreEnoughRows) {
  EXPECT_EQ(Next(StateOf(IndexKind::kAuto, {Flat(10'000)})).kind, Kind::kNone);
  EXPECT_EQ(Next(StateOf(IndexKind::kAuto, {Flat(10'001)})).kind, Kind::kRetrain);
  EXPECT_EQ(Next(StateOf(IndexKind::kAuto, {Flat(12'000, 2'000)})).kind,
            Kind::kNone);  // live rows count
  EXPECT_EQ(Next(StateOf(IndexKind::kFlat, {Flat(1'000'000)})).kind, Kind::kNone);
}

TEST(MaintenancePolicy, AutoRetrainsForGrowth) {
  MaintenanceState state = Trained();
  state.segments.push_back(Ivf(149'000, 7));
  EXPECT_NE(Next(state).kind, Kind::kRetrain);
  state.segments.push_back(Ivf(2'000, 7));
  EXPECT_EQ(Next(state).kind, Kind::kRetrain);
}

TEST(MaintenancePolicy, WithRepairOffOnlyTheFirstTrainingComesByItself) {
  MaintenancePolicy policy;
  policy.repair = false;
  EXPECT_EQ(NextStep(StateOf(IndexKind::kAuto, {Flat(10'001)}), policy).kind, Kind::kRetrain);
  MaintenanceState state = Trained();
  state.segments = {Ivf(300'000, 7)};
  EXPECT_EQ(NextStep(state, {}).kind, Kind::kRetrain);
  EXPECT_EQ(NextStep(state, policy).kind, Kind::kNone);
}

TEST(MaintenancePolicy, ARetrainComesBeforeMergesUnlessItFails) {
  MaintenanceState state = Trained();
  for (int i = 0; i < 20; ++i) state.segments.push_back(Ivf(10'000, 7));
  EXPECT_EQ(Next(state).kind, Kind::kRetrain);
  state.retrain_failed = true;
  EXPECT_EQ(Next(state).kind, Kind::kMerge);
  state.segments = {Ivf(300'000, 7)};  // nothing to merge: it is tried again
  EXPECT_EQ(Next(state).kind, Kind::kRetrain);
}

TEST(MaintenancePolicy, AutoRetrainsForDriftOnceItIsSure) {
  MaintenanceState state = Trained();
  state.recent_error = 0.6;
  state.recent_rows = 4'000;
  EXPECT_NE(Next(state).kind, Kind::kRetrain);
  state.recent_rows = 5'000;
  EXPECT_EQ(Next(state).kind, Kind::kRetrain);
  state.recent_error = 0.55;
  EXPECT_NE(Next(state).kind, Kind::kRetrain);
  state.imbalance = 3;
  EXPECT_EQ(Next(state).kind, Kind::kRetrain);
}

TEST(MaintenancePolicy, EncodesWhatIsStaleUnderTheNewestGeneration) {
  MaintenanceState state = Trained();
  state.segments.push_back(Ivf(500, 6));
  state.segments.push_back(Flat(300));
  const MaintenanceStep step = Next(state);
  EXPECT_EQ(step.kind, Kind::kMerge);
  EXPECT_EQ(step.first, 1u);
  EXPECT_EQ(step.count, 2u);
}

TEST(MaintenancePolicy, CalibratesAgainWhenRowsCameOrWent) {
  MaintenanceState state = Trained();
  state.segments.push_back(Ivf(20'000, 7));
  EXPECT_EQ(Next(state).kind, Kind::kNone);
  state.segments.push_back(Ivf(1'000, 7));
  MaintenanceStep step = Next(state);
  EXPECT_EQ(step.kind, Kind::kCalibrate);
  EXPECT_EQ(step.why, "121000 rows, and generation 7 was measured with 100000");
  state.calibrated_rows = 121'000;
  EXPECT_EQ(Next(state).kind, Kind::kNone);
  state.segments = {Ivf(90'000, 7)};
  EXPECT_EQ(Next(state).kind, Kind::kCalibrate);
  // What waits in a tail and what is to be merged comes first, a graph later.
  state.tail_rows = 300;
  state.last_write = state.now - absl::Seconds(2);
  EXPECT_EQ(Next(state).kind, Kind::kDrain);
  state.tail_rows = 0;
  state.segments.push_back(Ivf(1'000, 6));
  EXPECT_EQ(Next(state).kind, Kind::kMerge);
  state.segments.pop_back();
  state.now += absl::Seconds(60);
  EXPECT_EQ(Next(state).kind, Kind::kCalibrate);
  state.calibrated_rows = 90'000;
  EXPECT_EQ(Next(state).kind, Kind::kGraph);
  state.segments.clear();
  EXPECT_EQ(Next(state).kind, Kind::kNone);
}

TEST(MaintenancePolicy, GraphsComeToLargeQuietSegments) {
  MaintenanceState state = Trained();
  MaintenanceStep step = Next(state);
  EXPECT_EQ(step.kind, Kind::kNone);
  EXPECT_EQ(step.look_again, absl::UnixEpoch() + absl::Seconds(60));
  state.now += absl::Seconds(60);
  EXPECT_EQ(Next(state).kind, Kind::kGraph);
  state.segments[0].dead = 6'000;
  EXPECT_EQ(Next(state).kind, Kind::kNone);
  state.segments[0].dead = 0;
  state.segments[0].graph = true;
  EXPECT_EQ(Next(state).kind, Kind::kNone);
  state.segments[0].graph = false;
  state.segments[0].graph_refused = true;
  EXPECT_EQ(Next(state).kind, Kind::kNone);
  state.segments[0].graph_refused = false;
  state.spec.graph = false;
  EXPECT_EQ(Next(state).kind, Kind::kNone);
}

TEST(MaintenancePolicy, KindsOfFaissAreBuiltFromEnoughFlatRows) {
  EXPECT_EQ(Next(StateOf(IndexKind::kHnsw, {Flat(9'000)})).kind, Kind::kNone);
  const MaintenanceStep step = Next(StateOf(IndexKind::kHnsw, {Flat(9'000), Flat(2'000)}));
  EXPECT_EQ(step.kind, Kind::kMerge);
  EXPECT_EQ(step.count, 2u);
  MaintenanceState::Segment built = Flat(100'000);
  built.kind = SegmentKind::kHnsw;
  EXPECT_EQ(Next(StateOf(IndexKind::kHnsw, {built, Flat(11'000)})).kind, Kind::kNone);
  EXPECT_EQ(Next(StateOf(IndexKind::kHnsw, {built, Flat(26'000)})).kind, Kind::kMerge);
}

TEST(MaintenancePolicy, SaysWhy) {
  MaintenanceState state = StateOf(IndexKind::kAuto, {Flat(20'000)});
  EXPECT_EQ(Next(state).why, "20000 rows, more than 10000 that are quick to compare one by one");
}

}  // namespace
}  // namespace vecino::engine
