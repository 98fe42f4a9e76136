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

// Whether training leaves the row of this label out, as it does with one in kHeldOutOf, the same
// ones for ever: a calibration takes its queries from these, and no generation knows these rows,
// the old one as little as the new one, so both are measured on them alike.
inline constexpr uint64_t kHeldOutOf = 16;
constexpr bool IsHeldOut(uint64_t label) {
  uint64_t x = label + 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return (x ^ (x >> 31)) % kHeldOutOf == 0;
}
// Of fewer rows none is left out.
inline constexpr int64_t kLeastHeldOutOf = 8192;

// Trains on a sample of the live rows (at most Generation::SampleRows, drawn evenly by options.seed
// from those that are not held out), for options.expected_rows = rows.live() unless set. As
// Generation::Train. spoil, unless null, is given the sample before training: for tests that want a
// bad one.
absl::StatusOr<std::shared_ptr<Generation>> TrainGeneration(const FrozenRows& rows, Metric metric,
                                                            bool unit, size_t d,
                                                            Generation::TrainOptions options,
                                                            Checkpoint checkpoint,
                                                            const SpoilFn& spoil = nullptr);

}  // namespace vecino::index
