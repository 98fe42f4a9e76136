#include "server/engine/maintenance_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/engine/drift.h"

namespace vecino::engine {
namespace {

using Kind = MaintenanceStep::Kind;
using index::IndexKind;
using index::SegmentKind;

int64_t Rows(const MaintenanceState& state) {
  int64_t rows = 0;
  for (const auto& segment : state.segments) rows += segment.rows - segment.dead;
  return rows;
}

// The newest segments and all older ones that are not more than twice as large as what was taken,
// of the newest `most`.
MaintenanceStep MergeNewest(const MaintenanceState& state, size_t at_least, std::string why,
                            size_t most = SIZE_MAX) {
  const size_t least_first = state.segments.size() - std::min(most, state.segments.size());
  size_t first = state.segments.size();
  int64_t rows = 0;
  while (first > least_first &&
         (state.segments.size() - first < at_least || state.segments[first - 1].rows <= 2 * rows)) {
    rows += state.segments[--first].rows;
  }
  return {Kind::kMerge, first, state.segments.size() - first, std::move(why)};
}

// How many of the newest, one after another, are small; 0 where that matters to no search.
size_t SmallSegments(const MaintenanceState& state, const MaintenancePolicy& policy) {
  if (state.spec.kind != IndexKind::kAuto || state.generation == 0) return 0;
  size_t count = 0;
  for (auto it = state.segments.rbegin(); it != state.segments.rend(); ++it, ++count) {
    if (it->rows >= policy.small_rows || it->graph) break;
  }
  return count;
}

MaintenanceStep Merge(const MaintenanceState& state, const MaintenancePolicy& policy) {
  if (state.segments.size() > policy.max_segments) {
    return MergeNewest(state, 2,
                       absl::StrCat(state.segments.size(), " segments, more than ",
                                    policy.max_segments, " slow searches down"));
  }
  const size_t small = SmallSegments(state, policy);
  if (small > policy.max_small_segments) {
    return MergeNewest(
        state, 2,
        absl::StrCat(small, " segments of fewer than ", policy.small_rows, " rows, more than ",
                     policy.max_small_segments, ", slow searches down"),
        small);
  }
  for (size_t i = 0; i < state.segments.size(); ++i) {
    const auto& segment = state.segments[i];
    if (static_cast<double>(segment.dead) >
        policy.max_dead_share * static_cast<double>(segment.rows)) {
      return {Kind::kMerge, i, 1,
              absl::StrCat(segment.dead, " of ", segment.rows, " rows of a segment are dead")};
    }
    const bool stale = state.spec.kind == IndexKind::kAuto && state.generation != 0 &&
                       segment.generation != state.generation;
    if (stale) {
      // With its neighbours that are stale too.
      size_t end = i + 1;
      while (end < state.segments.size() && state.segments[end].generation != state.generation) {
        ++end;
      }
      return {
          Kind::kMerge, i, end - i,
          absl::StrCat(end - i, " segments are not encoded under generation ", state.generation)};
    }
  }
  if (!index::IsFaissKind(state.spec.kind)) return {};
  // FAISS's kinds are built when enough rows wait as flat segments.
  int64_t flat = 0;
  size_t first = state.segments.size();
  while (first > 0 && state.segments[first - 1].kind == SegmentKind::kFlat) {
    flat += state.segments[--first].rows;
  }
  const size_t count = state.segments.size() - first;
  if (count > 0 && flat > policy.exact_rows && flat > (Rows(state) - flat) / 4) {
    return MergeNewest(state, count,
                       absl::StrCat(flat, " rows are not in an index of kind ",
                                    std::string(index::IndexKindName(state.spec.kind)), " yet"));
  }
  return {};
}

MaintenanceStep Retrain(const MaintenanceState& state, const MaintenancePolicy& policy) {
  const auto all = [&](absl::Time not_before, auto why) -> MaintenanceStep {
    if (not_before <= state.now) return {Kind::kRetrain, 0, state.segments.size(), why()};
    MaintenanceStep none;
    none.look_again = not_before;
    return none;
  };
  if (state.generation == 0) {
    const int64_t rows = Rows(state);
    if (rows <= policy.exact_rows) return {};
    return all(state.retrain_not_before, [&] {
      return absl::StrCat(rows, " rows, more than ", policy.exact_rows,
                          " that are quick to compare one by one");
    });
  }
  if (!policy.repair) return {};
  const auto signals = MeasureDrift(state, policy);
  MaintenanceStep none;
  for (const Drift drift : {Drift::kGrowth, Drift::kAssignmentError, Drift::kImbalance,
                            Drift::kQuantizationError, Drift::kRecall}) {
    if (!signals[static_cast<size_t>(drift)].due) continue;
    const absl::Time not_before = drift == Drift::kRecall
                                      ? std::max(state.retrain_not_before, state.recall_not_before)
                                      : state.retrain_not_before;
    MaintenanceStep step = all(not_before, [&] { return DescribeDrift(drift, state, policy); });
    step.for_recall = drift == Drift::kRecall;
    if (step.kind != Kind::kNone) return step;
    none.look_again = std::min(none.look_again, step.look_again);
  }
  return none;
}

MaintenanceStep Graph(const MaintenanceState& state, const MaintenancePolicy& policy) {
  MaintenanceStep none;
  if (state.spec.kind != IndexKind::kAuto || !state.spec.graph) return none;
  for (size_t i = 0; i < state.segments.size(); ++i) {
    const auto& segment = state.segments[i];
    if (segment.kind != SegmentKind::kIvf || segment.graph || segment.graph_refused ||
        segment.rows < policy.graph_rows ||
        static_cast<double>(segment.dead) >
            policy.graph_max_dead_share * static_cast<double>(segment.rows)) {
      continue;
    }
    const absl::Time quiet = segment.since + policy.graph_quiet;
    if (quiet <= state.now) {
      return {Kind::kGraph, i, 1,
              absl::StrCat(
                  "a segment of ", segment.rows, " rows was not rewritten for ",
                  absl::FormatDuration(absl::Floor(state.now - segment.since, absl::Seconds(1))))};
    }
    none.look_again = std::min(none.look_again, quiet);
  }
  return none;
}

MaintenanceStep Calibrate(const MaintenanceState& state, const MaintenancePolicy& policy) {
  if (state.spec.kind != IndexKind::kAuto || state.generation == 0 || !policy.repair) return {};
  int64_t rows = 0;
  for (const auto& segment : state.segments) {
    if (segment.generation == state.generation) rows += segment.rows - segment.dead;
  }
  const auto now = static_cast<double>(rows);
  const auto then = static_cast<double>(state.calibrated_rows);
  if (rows == 0 ||
      (now <= policy.max_calibrated_growth * then && then <= policy.max_calibrated_growth * now)) {
    return {};
  }
  return {Kind::kCalibrate, 0, state.segments.size(),
          absl::StrCat(rows, " rows, and generation ", state.generation, " was measured with ",
                       state.calibrated_rows)};
}

MaintenanceStep QuietTail(const MaintenanceState& state, const MaintenancePolicy& policy) {
  MaintenanceStep none;
  if (state.spec.kind != IndexKind::kAuto || state.generation == 0) return none;
  if (state.tail_rows < policy.quiet_tail_rows) return none;
  none.look_again = state.last_write + policy.tail_quiet;
  if (none.look_again > state.now) return none;
  return {Kind::kDrain, 0, 0,
          absl::StrCat("nothing was written behind ", state.tail_rows, " rows")};
}

}  // namespace

MaintenanceStep NextStep(const MaintenanceState& state, const MaintenancePolicy& policy) {
  if (state.frozen_tails > 0) {
    return {Kind::kDrain, 0, 0, absl::StrCat(state.frozen_tails, " full tails wait")};
  }
  MaintenanceStep retrain;
  if (state.spec.kind == IndexKind::kAuto) retrain = Retrain(state, policy);
  // A retrain makes one segment of all; merges before it would be for nothing, unless it cannot be
  // done, for want of memory perhaps.
  if (retrain.kind != Kind::kNone && !state.retrain_failed) return retrain;
  if (MaintenanceStep step = Merge(state, policy); step.kind != Kind::kNone) return step;
  if (retrain.kind != Kind::kNone) return retrain;
  const MaintenanceStep tail = QuietTail(state, policy);
  if (tail.kind != Kind::kNone) return tail;
  if (MaintenanceStep step = Calibrate(state, policy); step.kind != Kind::kNone) return step;
  MaintenanceStep graph = Graph(state, policy);
  if (graph.kind == Kind::kNone) {
    graph.look_again = std::min({graph.look_again, tail.look_again, retrain.look_again});
  }
  return graph;
}

}  // namespace vecino::engine
