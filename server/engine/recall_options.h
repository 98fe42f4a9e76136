// How much of the searches is measured, and for how long that counts.
#pragma once

#include <cstddef>

#include "absl/time/time.h"

namespace vecino::engine {

// What a window holds: the latest `samples`, and none older than `age`.
struct RecallWindowLimits {
  size_t samples = 1000;
  absl::Duration age = absl::Hours(1);
};

struct RecallOptions {
  int sample_every = 1000;        // one search in about so many is measured; 0: none, and no probes
  double samples_per_second = 2;  // at most; probes among them
  // In a hurry (RecallSampler) one in sample_every / hurry is measured. 1: there is never a hurry.
  int hurry = 20;
  RecallWindowLimits window;
  size_t queue = 16;  // searches that wait to be measured; in a hurry as many more
  absl::Duration max_age = absl::Seconds(10);        // that one may have: it keeps memory
  absl::Duration probe_interval = absl::Seconds(1);  // between looks for something to probe
};

}  // namespace vecino::engine
