// Signs that a shard's index does not fit its rows any more. Pure: no clock, no locks.
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "server/engine/maintenance_policy.h"

namespace vecino::engine {

struct DriftSignal {
  const char* name = "";
  double value = 0;  // the figure now
  double limit = 0;  // what it may be, kRecall: at least; 0: none
  // Whether it is beyond, judged on enough rows; kRecall: surely enough.
  bool due = false;
};

enum class Drift : size_t {
  kGrowth,           // live rows, in multiples of those of the last training
  kImbalance,        // of lists, in multiples of that at training
  kAssignmentError,  // squared distance of new rows to their centroids, in multiples of training's
  kDeletedShare,     // dead rows of the segment that has most of them, for its size
  kQuantizationError,  // squared error of new rows' product codes, in multiples of training's
  // Lower end of the live estimate's 95% interval, from kEnoughRecallSamples searches on; its limit
  // is their target. That alone does not make it due: under the target it is for any index that
  // does what it should, as long as few searches were measured (by .06 at 50 searches of .95), and
  // a training for that would come by chance. It is due, from min_recall_samples on, when
  //  - the interval's upper end is under target - gate_target_slack, what is promised: certain,
  //    whatever the number of searches; or
  //  - the interval is no wider than ± recall_half_width and more of it lies under that than above:
  //    the promise is likely broken, and an index that finds its target exactly shows this in one
  //    window of forty at most (its mean is off by a half width, 1.96 standard errors).
  kRecall,
};
inline constexpr size_t kDriftSignals = 6;

// By number of Drift. Without a generation only the share of dead rows has a value.
std::array<DriftSignal, kDriftSignals> MeasureDrift(const MaintenanceState& state,
                                                    const MaintenancePolicy& policy);

// Whether a signal that brings a retrain is due: any but that of dead rows.
bool HasDrifted(const MaintenanceState& state, const MaintenancePolicy& policy);

// Whether the rows are, but for policy.min_drift_share of them, those that the generation was
// trained for. Without one: false.
bool AreRowsUnchanged(const MaintenanceState& state, const MaintenancePolicy& policy);

// What a signal that is due says, with its figures.
std::string DescribeDrift(Drift drift, const MaintenanceState& state,
                          const MaintenancePolicy& policy);

}  // namespace vecino::engine
