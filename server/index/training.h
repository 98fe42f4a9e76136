// Making a generation out of rows, and measuring how widely its lists must be searched.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "server/index/frozen_rows.h"
#include "server/index/generation.h"
#include "server/index/ivf_segment.h"
#include "server/index/kmeans.h"

namespace vecino::index {

using SpoilFn = std::function<void(std::vector<float>* sample)>;

// Trains on a sample of the live rows (at most Generation::SampleRows, drawn evenly by
// options.seed, none of those that IsHeldOut where there are kHoldOutRows), for
// options.expected_rows = rows.live() unless set. As Generation::Train. spoil, unless null, is
// given the sample before training: for tests that want a bad one.
absl::StatusOr<std::shared_ptr<Generation>> TrainGeneration(const FrozenRows& rows, Metric metric,
                                                            bool unit, size_t d,
                                                            Generation::TrainOptions options,
                                                            Checkpoint checkpoint,
                                                            const SpoilFn& spoil = nullptr);

}  // namespace vecino::index
