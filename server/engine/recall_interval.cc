#include "server/engine/recall_interval.h"

#include <algorithm>
#include <cmath>

namespace vecino::engine {

RecallInterval IntervalOf(const RecallSums& sums) {
  constexpr double kZ = 1.959964;  // of the normal distribution, 95% between -z and z
  if (sums.searches == 0) return {};
  const auto n = static_cast<double>(sums.searches);
  const double p = std::clamp(sums.mean(), 0.0, 1.0);
  const double most = p * (1 - p);
  // With one search of recall 0 more.
  const double mean = sums.sum / (n + 1);
  const double variance = sums.squares / (n + 1) - mean * mean;
  // Student's t for n - 1 over z, by the first term of its expansion (Fisher 1926).
  const double t_over_z = 1 + (kZ * kZ + 1) / (4 * std::max(1.0, n - 1));
  const double effective =
      variance > 0 ? std::max(n, n * most / (variance * t_over_z * t_over_z)) : n;
  const double z2 = kZ * kZ / effective;
  const double centre = (p + z2 / 2) / (1 + z2);
  const double half = kZ / (1 + z2) * std::sqrt(most / effective + z2 / (4 * effective));
  return {p == 0 ? 0 : std::max(0.0, centre - half), p == 1 ? 1 : std::min(1.0, centre + half)};
}

void SetMeasured(const RecallSums& sums, RecallEstimate* estimate) {
  estimate->samples = sums.searches;
  if (sums.searches == 0) return;
  estimate->recall = std::min(1.0, sums.mean());
  const RecallInterval interval = IntervalOf(sums);
  estimate->lower = interval.lower;
  estimate->upper = interval.upper;
}

}  // namespace vecino::engine
