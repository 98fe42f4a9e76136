// What a shard's maintenance does next, and why. Pure: no clock, no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/index/segment_kind.h"

namespace vecino::engine {

struct MaintenancePolicy {
  // A search visits every segment, so more than these are merged.
  size_t max_segments = 8;
  // A segment with a greater share of dead rows is rewritten without them.
  double max_dead_share = 0.2;
  // Rows of a shard up to which comparing them all is quick enough (about .15 ms at 384
  // dimensions), and exact.
  int64_t exact_rows = 10'000;
  // Rows below which an index of FAISS's kinds is not worth training: they stay flat, and exact.
  int64_t min_index_rows = 1'000;
  // A shard that has grown to so many times the rows its generation was trained for wants more
  // lists.
  double max_growth = 2.5;
  // New rows this much farther from their centroids than the rows of training (squared), or lists
  // this much less balanced, mean that the data has drifted: a stale generation scans 2.7 times the
  // rows for the same recall (measured).
  double max_error_growth = 1.15;
  double max_imbalance_growth = 2.0;
  // With so many times the rows that its calibration was measured on, or that part of them, a
  // generation is calibrated again: with twice the rows the same lists find .97 where .95 was asked
  // for, at a fifth more cost (measured); with half of them, less than was asked for.
  double max_calibrated_growth = 1.2;
  // Judged once so many rows, and this share of the trained ones, came since.
  int64_t min_drift_rows = 4096;
  double min_drift_share = 0.05;
  // A segment gets a graph when it has so many rows, few are dead, and it was not rewritten for so
  // long: a graph takes minutes to build and is lost when its segment is merged.
  int64_t graph_rows = 50'000;
  double graph_max_dead_share = 0.05;
  absl::Duration graph_quiet = absl::Seconds(60);
  // A tail that is not full is drained all the same when it has so many rows and nothing was
  // written for so long: comparing 2,000 rows takes a third of a search's time. For AUTO once it is
  // trained; until then a tail is as good as a segment.
  int64_t quiet_tail_rows = 256;
  absl::Duration tail_quiet = absl::Seconds(2);
};

// What the choice depends on.
struct MaintenanceState {
  struct Segment {
    index::SegmentKind kind = index::SegmentKind::kFlat;
    int64_t rows = 0;
    int64_t dead = 0;
    uint64_t generation = 0;  // 0: none
    bool graph = false;
    bool graph_refused = false;  // a graph was tried and did not fit or failed
    absl::Time since;            // when it came into the view
  };
  index::IndexSpec spec;
  std::vector<Segment> segments;  // in order of labels
  int frozen_tails = 0;
  int64_t tail_rows = 0;  // of the tail that is written to
  absl::Time last_write;
  bool retrain_failed = false;  // the last step was a retrain that could not be done
  uint64_t generation = 0;      // that new rows are encoded under; 0: none yet
  int64_t trained_rows = 0;
  int64_t calibrated_rows = 0;
  double base_error = 0;      // mean squared distance of a row to its centroid, at training
  double base_imbalance = 1;  // n·Σs²/(Σs)² of list sizes, at training
  double recent_error = 0;    // of the rows assigned since
  int64_t recent_rows = 0;    // how many they are
  double imbalance = 1;       // now
  absl::Time now;
};

struct MaintenanceStep {
  enum class Kind { kNone, kDrain, kMerge, kRetrain, kCalibrate, kGraph };
  Kind kind = Kind::kNone;
  size_t first = 0;  // segments [first, first + count) for kMerge; `first` for kGraph
  size_t count = 0;
  std::string why;
  // kNone: when to look again though nothing happens; infinite future when there is no need.
  absl::Time look_again = absl::InfiniteFuture();
};

// In order of urgency: drain, first training, merge, retrain for growth or drift, drain of a quiet
// tail (kDrain with frozen_tails == 0: the caller freezes it), calibration, graph.
//
// Too many segments: the newest ones are merged, reaching back over every older one that is not
// more than twice as large as all that was taken so far. So sizes grow towards the old end at least
// as powers of two, and a row is copied O(log n) times.
MaintenanceStep NextStep(const MaintenanceState& state, const MaintenancePolicy& policy);

}  // namespace vecino::engine
