#include "server/index/training.h"

#include <algorithm>
#include <new>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vecino::index {

absl::StatusOr<std::shared_ptr<Generation>> TrainGeneration(const FrozenRows& rows, Metric metric,
                                                            bool unit, size_t d,
                                                            Generation::TrainOptions options,
                                                            Checkpoint checkpoint,
                                                            const SpoilFn& spoil) {
  if (options.expected_rows == 0) options.expected_rows = rows.live();
  const int nlist =
      options.nlist > 0 ? options.nlist : Generation::DefaultLists(options.expected_rows);
  const bool hold_out = rows.live() >= kLeastHeldOutOf;
  int64_t left = 0;  // that may be taken and were not looked at yet
  absl::Status counted = rows.ForEachLive([&](uint64_t label, const float*) {
    left += !hold_out || !IsHeldOut(label);
    return left % 65536 == 0 ? checkpoint() : absl::OkStatus();
  });
  if (!counted.ok()) return counted;
  const int64_t wanted = std::min(left, Generation::SampleRows(nlist));
  std::vector<float> sample;
  try {
    sample.reserve(static_cast<size_t>(wanted) * d);
    // Knuth's selection sampling: each row is taken with the probability that makes exactly
    // `wanted` of what is left likely.
    std::mt19937_64 random(options.seed);
    int64_t needed = wanted;
    absl::Status status = rows.ForEachLive([&](uint64_t label, const float* vector) {
      if (hold_out && IsHeldOut(label)) return absl::OkStatus();
      if (random() % static_cast<uint64_t>(left) < static_cast<uint64_t>(needed)) {
        sample.insert(sample.end(), vector, vector + d);
        --needed;
      }
      return --left % 4096 == 0 ? checkpoint() : absl::OkStatus();
    });
    if (!status.ok()) return status;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a sample of ", wanted,
                                                     " rows of ", d, " dimensions to train on"));
  }
  if (spoil) spoil(&sample);
  auto generation =
      Generation::Train(metric, unit, d, sample.data(), sample.size() / d, options, checkpoint);
  if (generation.ok()) (*generation)->SetHeldOut(hold_out);
  return generation;
}

}  // namespace vecino::index
