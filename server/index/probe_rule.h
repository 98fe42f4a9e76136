// How many lists a query scans: more where many centroids are about as near as the nearest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/index/metric.h"

namespace vecino::index {

// A query's *gap* to a list is how much farther its centroid is than the nearest one: the
// difference of inner products over the query's length, or of distances (L2), so that it does not
// grow with the query. The list of rank r (from 1, by gap) is scanned when
//
//   gap(r) + weight · ln r ≤ threshold.
//
// Without the gap that is a fixed number of lists; without ln r, queries far from everything, which
// are lost anyway, would scan most lists. On 304,600 texts this finds the .95 of 8,000 scanned rows
// with 6,400, and the .99 of 43,000 with 30,400 (docs/index.md). Immutable; safe from any thread.
class ProbeRule {
 public:
  // At most so many times the breadth is scanned; and of the lists under the threshold breadth /
  // kLeast, where there are so many, whatever their ranks.
  static constexpr int kMost = 4, kLeast = 4;

  // How one query's neighbours lie.
  struct Observation {
    std::vector<float> gaps;      // of its best lists, ascending from 0
    std::vector<uint32_t> ranks;  // from 0, of the lists of its true neighbours; may be beyond gaps
  };
  // The weight with which the fewest lists hold a share `recall` of the neighbours. Off when there
  // is little to learn from, or little to gain. Deterministic.
  static ProbeRule Fit(const std::vector<Observation>& queries, double recall);

  ProbeRule() = default;  // off
  // As weight(), fixed() and gaps() of another; off unless they can be.
  ProbeRule(float weight, float fixed, std::vector<float> gaps);

  bool on() const { return !gaps_.empty(); }
  float weight() const { return weight_; }
  // How many times the breadth a fixed number of lists must be to find as much.
  float fixed() const { return fixed_; }
  // Mean gap at ranks 2^(i/2), ascending.
  const std::vector<float>& gaps() const { return gaps_; }

  // The threshold by which a query with mean gaps scans `breadth` lists. breadth ≥ 1.
  double Threshold(double breadth) const;

  // Of n gaps in any order those below the returned value are to be scanned: at least one when n is
  // not 0, and at most kMost · breadth, unless more are so close that a 256th of the threshold does
  // not tell them apart. Only when on().
  float Cut(const float* gaps, size_t n, double breadth) const;

  // Turns n scores of centroids, as the metric wants them, into gaps. norm: the query's length.
  static void ToGaps(Metric metric, float norm, float* scores, size_t n);

 private:
  float weight_ = 0, fixed_ = 1;
  std::vector<float> gaps_;
};

}  // namespace vecino::index
