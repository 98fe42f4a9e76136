#include "server/engine/diverse_hits.h"

#include <algorithm>
#include <limits>

#include "server/index/distance.h"

namespace vecino::engine {

absl::StatusOr<std::vector<size_t>> ChooseDiverseHits(
    index::Metric metric, std::span<const float> rows, size_t d, std::span<const float> scores,
    double lambda, size_t count, absl::FunctionRef<absl::Status()> checkpoint) {
  const size_t n = scores.size();
  const double sign = metric == index::Metric::kL2 ? -1 : 1;
  std::vector<double> nearest(n, -std::numeric_limits<double>::infinity());  // to those taken
  std::vector<float> to_last(n);
  std::vector<bool> taken(n);
  std::vector<size_t> order;
  while (order.size() < std::min(count, n)) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    size_t best = n;
    double best_value = 0;
    for (size_t i = 0; i < n; ++i) {
      if (taken[i]) continue;
      double value = lambda * sign * scores[i];
      if (!order.empty()) value -= (1 - lambda) * nearest[i];
      if (best == n || value > best_value) {
        best = i;
        best_value = value;
      }
    }
    order.push_back(best);
    taken[best] = true;
    index::Score(metric, rows.data() + best * d, rows.data(), d, n, to_last.data());
    for (size_t i = 0; i < n; ++i) nearest[i] = std::max(nearest[i], sign * to_last[i]);
  }
  return order;
}

}  // namespace vecino::engine
