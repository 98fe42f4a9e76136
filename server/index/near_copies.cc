#include "server/index/near_copies.h"

#include <algorithm>
#include <cmath>

#include "server/index/distance.h"

namespace vecino::index {
namespace {

// Of squared lengths, by which rows still are of one length.
constexpr float kSameLength = 1.01f;
// Beyond 1,386 dimensions all are about as far.
constexpr double kLeastGrowth = 1e-3;

// The logarithm of how much farther, squared, the neighbour of twice the rank is.
double Growth(const std::vector<float>& squares) {
  return std::log(squares[NearCopyRule::kKnown - 1] / squares[NearCopyRule::kRank - 1]);
}

double Dimension(double growth) {
  return 2 * std::log(static_cast<double>(NearCopyRule::kKnown) / NearCopyRule::kRank) / growth;
}

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
  std::vector<double> growths;
  for (const std::vector<float>& of_row : squares) {
    if (of_row.size() >= kKnown && of_row[kRank - 1] > 0) growths.push_back(Growth(of_row));
  }
  NearCopyRule rule;
  if (growths.empty()) return rule;
  const auto middle = growths.begin() + static_cast<ptrdiff_t>(growths.size() / 2);
  std::nth_element(growths.begin(), middle, growths.end());
  if (*middle >= kLeastGrowth && std::isfinite(*middle)) rule.growth_ = *middle;
  return rule;
}

double NearCopyRule::dimension() const { return growth_ == 0 ? 0 : Dimension(growth_); }

std::vector<bool> NearCopyRule::Find(const std::vector<float>& squares) const {
  std::vector<bool> copies(std::min(squares.size(), kMost));
  if (growth_ == 0 || squares.size() < kKnown || !(squares[kRank - 1] > 0)) return copies;
  const double power = 2 / Dimension(std::max(growth_, Growth(squares)));
  bool nearer = false;  // than one that is a copy
  for (size_t i = copies.size(); i-- > 0;) {
    const double chance = kChance * static_cast<double>(i + 1) / kRank;
    nearer = nearer || squares[i] < squares[kRank - 1] * std::pow(chance, power);
    copies[i] = nearer;
  }
  return copies;
}

std::vector<std::vector<bool>> FindNearCopies(Metric metric, absl::Span<const Neighbours> of,
                                              size_t d) {
  std::vector<std::vector<float>> squares;
  for (const Neighbours& one : of) {
    squares.push_back(SquaredDistances(metric, one.row, one.best, d));
  }
  const NearCopyRule rule = NearCopyRule::Fit(squares);
  std::vector<std::vector<bool>> copies;
  for (const std::vector<float>& of_one : squares) copies.push_back(rule.Find(of_one));
  return copies;
}

}  // namespace vecino::index
