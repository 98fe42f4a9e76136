// Which of a row's neighbours are copies of it rather than other rows about the same.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "server/index/metric.h"

namespace vecino::index {

// Squared distances of a row to the best others: `best`, vectors, best first, of which the first
// NearCopyRule::kKnown are taken. Empty for inner products of rows that differ in length, where the
// best are not the nearest. row: d floats. Thread safe.
std::vector<float> SquaredDistances(Metric metric, const float* row,
                                    absl::Span<const float* const> best, size_t d);

// A *near copy* of a row is a neighbour so near that chance would hardly put one there, its nearest
// once in a thousand times: another version of a text, a part that overlaps, the same words once
// more. Stored rows may have some where what callers ask for has none, and they lie beside the row
// in every index, so a recall that counts them flatters; a calibration leaves them out
// (docs/recall.md has the figures).
//
// About a row the squared distance of the neighbour of rank i grows as i^(2 / dimension), with the
// dimension that the data has there (Levina and Bickel 2004). So the neighbour of rank i is a near
// copy, and with it those that are nearer, when its squared distance is below
// (kChance · i / kRank)^(2 / dimension) of that of rank kRank. The dimension is what the distances
// of ranks kRank and kKnown tell of: the row's or the median of many rows, whichever is less. More
// copies than kMost are not told from clusters: of 30 equal rows none is one. Immutable; thread
// safe.
class NearCopyRule {
 public:
  static constexpr size_t kRank = 30, kMost = kRank - 1;
  static constexpr size_t kKnown = 2 * kRank;  // neighbours that tell the dimension
  static constexpr double kChance = 0.001;

  NearCopyRule() = default;  // nothing is a near copy
  // squares: SquaredDistances of some rows. Those with fewer than kKnown say nothing of the
  // dimension, which is the median of the others.
  static NearCopyRule Fit(absl::Span<const std::vector<float>> squares);

  double dimension() const;  // 0: not known
  // squares: SquaredDistances of a row. For each of the best kMost, or as many as there are,
  // whether it is a near copy.
  std::vector<bool> Find(const std::vector<float>& squares) const;

 private:
  // The logarithm of how much farther, squared, rank kKnown is than kRank; 0: not known.
  double growth_ = 0;
};

// A row and its best others, best first: NearCopyRule::kKnown, as far as there are so many.
struct Neighbours {
  const float* row = nullptr;  // d floats, as are those
  std::vector<const float*> best;
};
// By the rule that these rows tell of, its Find for each of them. Thread safe.
std::vector<std::vector<bool>> FindNearCopies(Metric metric, absl::Span<const Neighbours> of,
                                              size_t d);

}  // namespace vecino::index
