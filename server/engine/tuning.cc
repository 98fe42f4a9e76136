#include "server/engine/tuning.h"

#include <algorithm>
#include <cmath>

#include "server/index/calibration.h"

namespace vecino::engine {
namespace {

// On what the greatest target takes, for where calibration promised too much.
constexpr double kFactors[] = {1.4, 2, 2.8, 4};
constexpr int kMostKnob = 4096;

constexpr size_t kAtOnce = 16;
constexpr size_t kHitBytes = 64 << 20;  // of the answers that are kept at once

absl::Duration Quantile(std::vector<double> seconds, double share) {
  if (seconds.empty()) return absl::ZeroDuration();
  const auto last = static_cast<double>(seconds.size() - 1);
  const auto at = seconds.begin() + static_cast<ptrdiff_t>(std::llround(share * last));
  std::nth_element(seconds.begin(), at, seconds.end());
  return absl::Seconds(*at);
}

}  // namespace

size_t QueriesAtOnce(size_t rungs, size_t shards, int top_k) {
  const size_t one = rungs * shards * static_cast<size_t>(top_k) * sizeof(ShardHit);
  return std::clamp<size_t>(kHitBytes / std::max<size_t>(one, 1), 1, kAtOnce);
}

std::vector<TuningRung> TuningLadder(bool fixed) {
  std::vector<TuningRung> rungs;
  if (fixed) {
    for (int knob = 1; knob <= kMostKnob; knob *= 2) rungs.push_back({.knob = knob});
    return rungs;
  }
  for (const float aim : index::RecallTable::kAims) rungs.push_back({.target = aim});
  for (const double factor : kFactors) {
    rungs.push_back({.target = index::RecallTable::kAims.back(), .factor = factor});
  }
  return rungs;
}

double RungFigures::error() const {
  if (recalls.searches < 2) return 1;
  const auto n = static_cast<double>(recalls.searches);
  const double mean = recalls.mean();
  return std::sqrt(std::max(0.0, recalls.squares / n - mean * mean) / n);
}

TuningResult MakeTuningResult(absl::Span<const RungFigures> figures, double target) {
  TuningResult result;
  result.target = target;
  for (const RungFigures& rung : figures) {
    if (rung.searches == 0) continue;
    const auto n = static_cast<double>(rung.searches);
    result.points.push_back(
        {.breadth = rung.exact ? 0 : static_cast<int>(std::llround(rung.breadth / n)),
         .recall = std::min(1.0, rung.recalls.mean()),
         .error = rung.error(),
         .p50 = Quantile(rung.seconds, 0.5),
         .p99 = Quantile(rung.seconds, 0.99),
         .rows_scanned = std::llround(rung.rows / n),
         .exact = rung.exact});
  }
  // Not by breadth: fewer lists with more rows scored again may find more.
  std::stable_partition(result.points.begin(), result.points.end(),
                        [](const TuningPoint& point) { return !point.exact; });
  const auto same = [](const TuningPoint& a, const TuningPoint& b) {
    return a.exact == b.exact && a.breadth == b.breadth && a.rows_scanned == b.rows_scanned &&
           std::abs(a.recall - b.recall) < 1e-9;
  };
  result.points.erase(std::unique(result.points.begin(), result.points.end(), same),
                      result.points.end());
  for (size_t i = 0; i < result.points.size() && result.recommended < 0; ++i) {
    const TuningPoint& point = result.points[i];
    const double sure = index::Calibration::Sure(point.recall, point.error);
    if (point.exact || sure >= target) result.recommended = static_cast<int>(i);
  }
  return result;
}

}  // namespace vecino::engine
