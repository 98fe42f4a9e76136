#include "server/index/near_copies.h"

#include <algorithm>
#include <cmath>

#include "server/index/distance.h"

namespace vecino::index {
namespace {

// Of squared lengths, by which rows still are of one length.
constexpr float kSameLength = 1.01f;

}  // namespace

std::vector<float> SquaredDistances(Metric metric, const float* row,
                                    absl::Span<const float* const> best, size_t d) {
  best = best.first(std::min(best.size(), NearCopyRule::kKnown));
  std::vector<float> squares(best.size());
  float least = 0, most = 0;
  Score(Metric::kInnerProduct, row, row, d, 1, &least);
  most = least;
  for (size_t i = 0; i < best.size(); ++i) {
    Score(Metric::kL2, row, best[i], d, 1, &squares[i]);
    if (metric == Metric::kL2) continue;
    float length = 0;
    Score(Metric::kInnerProduct, best[i], best[i], d, 1, &length);
    least = std::min(least, length);
    most = std::max(most, length);
  }
  if (metric != Metric::kL2 && !(most <= kSameLength * least)) squares.clear();
  return squares;
}

NearCopyRule NearCopyRule::Fit(absl::Span<const std::vector<float>> squares) {
  // Logarithms of how far the neighbour of twice the rank is.
  std::vector<double> growths;
  for (const std::vector<float>& of_row : squares) {
    if (of_row.size() < kKnown || !(of_row[kRank - 1] > 0)) continue;
    growths.push_back(std::log(of_row[kKnown - 1] / of_row[kRank - 1]));
  }
  NearCopyRule rule;
  if (growths.empty()) return rule;
  const auto middle = growths.begin() + static_cast<ptrdiff_t>(growths.size() / 2);
  std::nth_element(growths.begin(), middle, growths.end());
  constexpr double kLeastGrowth = 1e-3;  // beyond 1,386 dimensions all are about as far
  if (*middle >= kLeastGrowth && std::isfinite(*middle)) {
    rule.dimension_ = 2 * std::log(static_cast<double>(kKnown) / kRank) / *middle;
  }
  return rule;
}

std::vector<bool> NearCopyRule::Find(const std::vector<float>& squares) const {
  std::vector<bool> copies(std::min(squares.size(), kMost));
  if (dimension_ == 0 || squares.size() < kRank) return copies;
  const double of_rank = squares[kRank - 1];
  for (size_t i = 0; i < copies.size(); ++i) {
    const double chance = kChance * static_cast<double>(i + 1) / kRank;
    copies[i] = squares[i] < of_rank * std::pow(chance, 2 / dimension_);
  }
  return copies;
}

}  // namespace vecino::index
