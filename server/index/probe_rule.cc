#include "server/index/probe_rule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace vecino::index {
namespace {

// Bins that Cut counts gaps in, between 0 and the threshold.
constexpr int kBins = 256;

// With fewer lists, or gain, than this a fixed number of lists does.
constexpr size_t kFewestLists = 64;
constexpr double kLeastGain = 0.03;

double RankOf(size_t i) { return std::exp2(static_cast<double>(i) / 2); }

// The smallest value that a share `share` of `values` do not exceed.
template <typename T>
T Quantile(std::vector<T> values, double share) {
  const auto at = static_cast<ptrdiff_t>(std::min<double>(
      std::ceil(share * static_cast<double>(values.size())), static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + std::max<ptrdiff_t>(at - 1, 0), values.end());
  return values[static_cast<size_t>(std::max<ptrdiff_t>(at - 1, 0))];
}

// The greatest sign · x, four at a time: each max waits for the one before it. n ≥ 1.
float Greatest(const float* x, size_t n, float sign) {
  std::array<float, 4> best;
  best.fill(sign * x[0]);
  for (size_t i = 0; i + 4 <= n; i += 4) {
    for (size_t j = 0; j < 4; ++j) best[j] = std::max(best[j], sign * x[i + j]);
  }
  for (size_t i = n / 4 * 4; i < n; ++i) best[0] = std::max(best[0], sign * x[i]);
  return std::max(std::max(best[0], best[1]), std::max(best[2], best[3]));
}

// The mean number of lists that hold a share `recall` of all neighbours by this weight, and the
// threshold of it.
struct Cost {
  double lists = std::numeric_limits<double>::infinity();
  double threshold = 0;
};

Cost CostOf(const std::vector<ProbeRule::Observation>& queries, double weight, double recall) {
  const auto sum = [&](const ProbeRule::Observation& query, size_t rank) {
    return query.gaps[rank] + weight * std::log(static_cast<double>(rank + 1));
  };
  std::vector<double> needed;
  for (const ProbeRule::Observation& query : queries) {
    for (const uint32_t rank : query.ranks) {
      needed.push_back(rank < query.gaps.size() ? sum(query, rank)
                                                : std::numeric_limits<double>::infinity());
    }
  }
  Cost cost;
  cost.threshold = Quantile(std::move(needed), recall);
  if (!std::isfinite(cost.threshold)) return cost;
  cost.lists = 0;
  for (const ProbeRule::Observation& query : queries) {
    size_t low = 0, high = query.gaps.size();  // the sum grows with the rank
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (sum(query, middle) <= cost.threshold) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    cost.lists += static_cast<double>(low);
  }
  cost.lists /= static_cast<double>(queries.size());
  return cost;
}

}  // namespace

ProbeRule::ProbeRule(float weight, float fixed, std::vector<float> gaps) {
  const bool usable =
      weight > 0 && std::isfinite(weight) && fixed > 0 && std::isfinite(fixed) && gaps.size() > 1 &&
      gaps.front() >= 0 &&
      std::all_of(gaps.begin(), gaps.end(), [](float x) { return std::isfinite(x); }) &&
      std::is_sorted(gaps.begin(), gaps.end());
  if (!usable) return;
  weight_ = weight;
  fixed_ = fixed;
  gaps_ = std::move(gaps);
}

double ProbeRule::Threshold(double breadth) const {
  const double place = 2 * std::log2(breadth);
  const auto last = static_cast<double>(gaps_.size() - 1);
  const auto at = static_cast<size_t>(std::clamp(std::floor(place), 0.0, last - 1));
  // Beyond the last as steeply as before it.
  const double gap = gaps_[at] + (place - static_cast<double>(at)) * (gaps_[at + 1] - gaps_[at]);
  return gap + weight_ * std::log(breadth);
}

float ProbeRule::Cut(const float* gaps, size_t n, double breadth) const {
  const double threshold = std::max(Threshold(breadth), 1e-30);
  const auto per_unit = static_cast<float>(kBins / threshold);
  std::array<uint32_t, kBins + 1> counts = {};
  for (size_t i = 0; i < n; ++i) {
    // Compared as floats: what is far beyond, or not a number, has no int.
    const float bin = gaps[i] * per_unit;
    ++counts[bin < kBins ? static_cast<size_t>(bin) : size_t{kBins}];
  }
  const double most = std::max(1.0, kMost * breadth), least = std::max(1.0, breadth / kLeast);
  // Ranks that a bin's middle may have: exp((threshold − gap) / weight).
  double ranks = std::exp(threshold / weight_ * (1 - 0.5 / kBins));
  const double step = std::exp(-threshold / weight_ / kBins);
  double seen = 0;
  int bins = 0;
  for (; bins < kBins; ++bins, ranks *= step) {
    const double next = seen + counts[static_cast<size_t>(bins)];
    if (bins > 0 && next > least && next > std::min(ranks, most)) break;
    seen = next;
  }
  return static_cast<float>(bins) / per_unit;
}

void ProbeRule::ToGaps(Metric metric, float norm, float* scores, size_t n) {
  if (n == 0) return;
  if (metric == Metric::kL2) {
    for (size_t i = 0; i < n; ++i) scores[i] = std::sqrt(std::max(scores[i], 0.0f));
    const float best = -Greatest(scores, n, -1);
    for (size_t i = 0; i < n; ++i) scores[i] -= best;
    return;
  }
  const float best = Greatest(scores, n, 1);
  // A length that is too small to tell keeps the order.
  const float scale = norm > 0 ? 1 / norm : 1;
  for (size_t i = 0; i < n; ++i) scores[i] = (best - scores[i]) * scale;
}

ProbeRule ProbeRule::Fit(const std::vector<Observation>& queries, double recall) {
  size_t lists = std::numeric_limits<size_t>::max(), neighbours = 0;
  for (const Observation& query : queries) {
    lists = std::min(lists, query.gaps.size());
    neighbours += query.ranks.size();
  }
  if (neighbours == 0 || lists < kFewestLists) return {};
  std::vector<float> gaps;
  for (size_t i = 0; RankOf(i) <= static_cast<double>(lists); ++i) {
    double sum = 0;
    for (const Observation& query : queries) {
      sum += query.gaps[static_cast<size_t>(std::lround(RankOf(i))) - 1];
    }
    gaps.push_back(static_cast<float>(sum / static_cast<double>(queries.size())));
  }
  std::vector<double> ranks;
  for (const Observation& query : queries) {
    for (const uint32_t rank : query.ranks) ranks.push_back(rank + 1.0);
  }
  const double fixed = Quantile(std::move(ranks), recall);
  // Gaps rise about as the logarithm of the rank, by this each time it grows e-fold.
  const double rise = gaps.back() / std::log(RankOf(gaps.size() - 1));
  double weight = 0;
  Cost best;
  for (const double times : {0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0}) {
    const Cost cost = CostOf(queries, times * rise, recall);
    if (cost.lists < best.lists) best = cost, weight = times * rise;
  }
  if (!(best.lists < (1 - kLeastGain) * fixed)) return {};
  const ProbeRule rule(static_cast<float>(weight), 1, gaps);
  if (!rule.on()) return {};
  double low = 1, high = static_cast<double>(lists);
  for (int i = 0; i < 40; ++i) {
    const double middle = std::sqrt(low * high);
    (rule.Threshold(middle) < best.threshold ? low : high) = middle;
  }
  return {static_cast<float>(weight), static_cast<float>(fixed / high), std::move(gaps)};
}

}  // namespace vecino::index
