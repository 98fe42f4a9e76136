#include "server/engine/breadth_control.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vecino::engine {
namespace {

std::string DescribeKind(size_t number) {
  const index::SearchKind kind = index::DescribeSearchKind(number);
  std::string text =
      kind.max_k == kind.min_k
          ? absl::StrCat("searches for ", kind.min_k, " document")
          : absl::StrCat("searches for ", kind.min_k, " to ", kind.max_k, " documents");
  if (kind.up_to_share == 1) {
    absl::StrAppend(&text, " of more than half of the rows");
  } else if (kind.above_share > 0) {
    absl::StrAppend(&text, " of ", 100 * kind.above_share, "% to ", 100 * kind.up_to_share,
                    "% of the rows");
  } else {
    absl::StrAppend(&text, " of at most ", 100 * kind.up_to_share, "% of the rows");
  }
  return text;
}

}  // namespace

std::optional<std::string> BreadthControl::Add(const RecallSample& sample, uint64_t epoch) {
  const size_t number = index::SearchKindOf(sample.k, sample.share);
  absl::MutexLock lock(&mu_);
  if (epoch != epoch_.load(std::memory_order_relaxed)) return std::nullopt;
  Kind& kind = kinds_[number];
  kind.sums.Add(sample.recall);
  if (!sample.extra) kind.uniform.Add(sample.recall);
  kind.targets += sample.target;
  const int64_t n = kind.sums.searches;
  // Now and then only: who looks after every search finds what he looks for by chance.
  if (n % kEnoughRecallSamples != 0) return std::nullopt;
  const double mean = kind.sums.mean(), target = kind.targets / static_cast<double>(n);
  const RecallInterval interval = IntervalOf(kind.sums), uniform = IntervalOf(kind.uniform);
  const double now = corrections_.OfKind(number);
  double next = now;
  if (interval.upper < target) {
    const double misses = (1 - interval.upper) / std::max(1 - target, 1e-6);
    next = std::min(now * std::clamp(misses, kWiden, kWidenMost), index::Corrections::kMost);
  } else if (n >= kManySamples && mean < target) {
    next = std::min(now * kWidenLittle, index::Corrections::kMost);
  } else if (kind.uniform.searches >= kManySamples && mean < 1 &&
             std::min(interval.lower, uniform.lower) > target + (1 - target) / 4) {
    next = std::max(now * kNarrow, index::Corrections::kLeast);
  }
  if (next == now) {
    // What is judged is of late: the older half counts half from here on.
    if (n >= 2 * kManySamples) {
      kind.sums.Halve();
      kind.targets /= 2;
    }
    if (kind.uniform.searches >= 2 * kManySamples) kind.uniform.Halve();
    return std::nullopt;
  }
  corrections_.Set(number, next);
  kind = {};
  epoch_.fetch_add(1, std::memory_order_release);
  return absl::StrFormat(
      "%s take %.2f times the breadth that calibration chose, before %.2f, because %d of them "
      "found "
      "%.3f (%.3f to %.3f) for a target of %.3f",
      DescribeKind(number), next, now, n, mean, interval.lower, interval.upper, target);
}

bool BreadthControl::IsSettled(int k, double share) const {
  absl::MutexLock lock(&mu_);
  return kinds_[index::SearchKindOf(k, share)].sums.searches >= kManySamples;
}

void BreadthControl::Reset() {
  absl::MutexLock lock(&mu_);
  corrections_.Reset();
  kinds_ = {};
  epoch_.fetch_add(1, std::memory_order_release);
}

}  // namespace vecino::engine
