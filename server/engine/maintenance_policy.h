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
  // And of AUTO's, once trained, more than these of fewer rows, whose lists of a row or two are
  // looked up like others: with eight a twelfth more of the processor than with three beside 2,000
  // upserts a second (docs/index.md). Of large ones not: a row is copied 7 times on its way into
  // a segment of 32 million, with four of all sizes 20 times. Only these are merged then, and none
  // that has a graph.
  size_t max_small_segments = 3;
  int64_t small_rows = 50'000;
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
  // The same for the squared error of product codes: the errors of scores grow with its root, by an
  // eighth here. Not tuned: no data was seen yet that lies as near to the centroids as that of
  // training and is coded as badly.
  double max_quantization_growth = 1.25;
  // Live searches are measured so often before their recall brings a training, and half of their
  // interval's width from which on its middle counts; see Drift::kRecall.
  int64_t min_recall_samples = 100;
  double recall_half_width = 0.01;
  // With so many times the rows that its calibration was measured on, or that part of them, a
  // generation is calibrated again: with twice the rows the same lists find .97 where .95 was asked
  // for, at a fifth more cost (measured); with half of them, less than was asked for.
  double max_calibrated_growth = 1.2;
  // Off: no calibration and no training but the first and those that are asked for.
  bool repair = true;
  // A new build goes live when it comes within the slack of the target, which is what a target
  // promises: above it recall is chance (1,000 queries have a standard error of .003, and of two
  // builds of the same rows the calibrations differ by as much), and cost is what counts. Where the
  // old one misses that, it must find more, or as much, to the loss, for no more.
  double gate_target_slack = 0.01;
  double gate_recall_loss = 0.005;
  // Of searches for the best row, and under a filter, which are measured less closely (standard
  // errors .007 and .006), the slack and the loss are this.
  double gate_other_loss = 0.02;
  // And when it compares at most so many times the rows of the old one for as much recall, to the
  // loss. That is the noise: builds of the same rows differ by a tenth. Where the old one misses
  // the target by more than the slack, or a sign of drift is due, a dearer one is taken, too.
  double gate_cost = 1.10;
  double gate_cost_of_repair = 1.25;
  // No row of retrains of the same rows ends at more than this, in rows of the cheapest of them.
  double gate_cost_of_same_rows = 1.25;
  // Who finds more than the old one may compare so many times the rows for that.
  double gate_cost_of_more = 3;
  // At most so many times the time; a difference below the least one is noise. Not judged where the
  // old one misses the target by more than the slack.
  double gate_time = 1.5;
  double gate_least_seconds = 50e-6;
  // A first training that misses the target by more is broken: calibration may have scanned all
  // lists. So is one that compares more than this share of the rows, in more than this share of the
  // time. Comparing every row goes on, which is exact.
  double gate_first_slack = 0.05;
  double gate_first_rows = 0.9;
  // A build that was rejected would be again, as long as the rows are the same: tried again after
  // so long or as long as it took, doubling each time.
  absl::Duration retrain_wait = absl::Minutes(1);
  absl::Duration max_retrain_wait = absl::Hours(24);
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

// What was measured of a shard's live searches, run again exactly.
struct RecallFigures {
  double lower = 0, upper = 1;  // ends of the 95% interval of the mean recall
  double target = 0;            // mean recall target of these searches
  int64_t samples = 0;
  absl::Time oldest;  // when the oldest of them was taken
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
  double base_error = 0;           // mean squared distance of a row to its centroid, at training
  double base_imbalance = 1;       // n·Σs²/(Σs)² of list sizes, at training
  double recent_error = 0;         // of the rows assigned since
  int64_t recent_rows = 0;         // how many they are
  double imbalance = 1;            // now
  double base_quantization = 0;    // mean squared error of product codes, at training; 0: not known
  double recent_quantization = 0;  // of a sample of the rows assigned since; 0: there is none
  RecallFigures recall;            // of searches since the last training
  // Before these no retrain for drift, and none for recall: the last one was rejected or did not
  // help, or took as long.
  absl::Time retrain_not_before = absl::InfinitePast();
  absl::Time recall_not_before = absl::InfinitePast();
  absl::Time now;
};

struct MaintenanceStep {
  enum class Kind { kNone, kDrain, kMerge, kRetrain, kCalibrate, kGraph };
  Kind kind = Kind::kNone;
  size_t first = 0;  // segments [first, first + count) for kMerge; `first` for kGraph
  size_t count = 0;
  std::string why;
  bool for_recall = false;  // kRetrain: because live searches find too little
  // kNone: when to look again though nothing happens; infinite future when there is no need.
  absl::Time look_again = absl::InfiniteFuture();
};

// In order of urgency: drain, first training, merge, retrain for growth or drift, drain of a quiet
// tail (kDrain with frozen_tails == 0: the caller freezes it), calibration, graph.
//
// Too many segments: the newest ones are merged, reaching back over every older one that is not
// more than twice as large as all that was taken so far. So sizes grow towards the old end at least
// as powers of two, and a row is copied O(log n) times. Too many small ones: so, but of these only.
MaintenanceStep NextStep(const MaintenanceState& state, const MaintenancePolicy& policy);

}  // namespace vecino::engine
