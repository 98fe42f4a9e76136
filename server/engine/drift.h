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
  double limit = 0;  // what it may be; 0: none
  bool due = false;  // whether it is beyond, judged on enough rows
};

enum class Drift : size_t {
  kGrowth,           // live rows, in multiples of those of the last training
  kImbalance,        // of lists, in multiples of that at training
  kAssignmentError,  // squared distance of new rows to their centroids, in multiples of training's
  kDeletedShare,     // dead rows of the segment that has most of them, for its size
  kQuantizationError,  // squared error of new rows' product codes, in multiples of training's
  kRecall,             // upper end of the live estimate's interval
};
inline constexpr size_t kDriftSignals = 6;

// By number of Drift. Without a generation only the share of dead rows has a value.
std::array<DriftSignal, kDriftSignals> MeasureDrift(const MaintenanceState& state,
                                                    const MaintenancePolicy& policy);

// What a signal that is due says, with its figures.
std::string DescribeDrift(Drift drift, const MaintenanceState& state,
                          const MaintenancePolicy& policy);

}  // namespace vecino::engine
