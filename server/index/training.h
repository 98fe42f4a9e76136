// Making a generation out of rows, and measuring how widely its lists must be searched.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/index/frozen_rows.h"
#include "server/index/generation.h"
#include "server/index/ivf_segment.h"
#include "server/index/kmeans.h"

namespace vecino::index {

// Trains on a sample of the live rows (at most Generation::SampleRows, drawn evenly by
// options.seed), for options.expected_rows = rows.live() unless set. As Generation::Train.
absl::StatusOr<std::shared_ptr<Generation>> TrainGeneration(const FrozenRows& rows, Metric metric,
                                                            bool unit, size_t d,
                                                            Generation::TrainOptions options,
                                                            Checkpoint checkpoint);

// Queries that a calibration asks: with 800 the standard error of the measured recall is .0035 at
// .95; half of them above 128 lists (docs/index.md).
inline constexpr int kCalibrationQueries = 800;
inline constexpr int kCalibrationK = 10;

// Searches `segment` for some of its own rows, each left out of its own answer, at rising breadths,
// and compares with brute force, then once more under a filter, for the widening. Ties count as
// found. `queries`, at most size() - 1. threads: of
// ParallelFor; any number gives the same. Blocks for about a second a million rows.
absl::StatusOr<Calibration> CalibrateIvf(const IvfSegment& segment, int queries, uint64_t seed,
                                         Checkpoint checkpoint, int threads = 1);
// The same for the segment's graph and ef.
absl::StatusOr<Calibration> CalibrateGraph(const IvfSegment& segment, int queries, uint64_t seed,
                                           Checkpoint checkpoint);

}  // namespace vecino::index
