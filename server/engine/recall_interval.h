// How sure a mean recall is.
#pragma once

#include <cstdint>

#include "server/engine/recall_estimate.h"

namespace vecino::engine {

struct RecallInterval {
  double lower = 0, upper = 1;
};

// Sums over the recalls of single searches, each 0 to 1.
struct RecallSums {
  int64_t searches = 0;
  double sum = 0, squares = 0;

  void Add(double recall, int times = 1) {
    searches += times;
    sum += times * recall;
    squares += times * recall * recall;
  }
  // Of twice as many, what counts half: the mean stays.
  void Halve() { *this = {searches / 2, sum / 2, squares / 2}; }
  double mean() const { return searches > 0 ? sum / static_cast<double>(searches) : 0; }
};

// The 95% interval of the mean recall of which these searches are a sample.
//
// It is Wilson's (1927) for a proportion p of n trials. The trials are not the neighbours, since
// the k neighbours of one search are found or missed together: n is the number of searches that, if
// each found all or nothing, would leave the mean as uncertain as it is (the effective sample size
// of Korn and Graubard 1998, as for a cluster sample whose clusters are searches):
//
//     n_eff = max(n, n · p (1 - p) / s² · (z / t)²)
//
// with s² the variance of the searches' recalls and t Student's for n - 1 (1.025 z for 50
// searches), as s² is measured, too. p (1 - p) is the most that s² can be, so n_eff ≥ n, and n
// where all or nothing is found. Few searches of which most find all say little of s²: the rare bad
// ones may all be missing. So s² counts one search more, of recall 0. Without it 50 searches of
// which 3% find nothing, 17% .9 and the rest all are covered by 76% of the intervals, with it by
// 98%; at 1,000 searches it widens them by 1 to 20%. docs/recall.md has the table, a test repeats.
//
// Without searches: 0 to 1.
RecallInterval IntervalOf(const RecallSums& sums);

// Fills in samples, mean and interval of an estimate; without searches the latter two stay as they
// are. What else it says is left alone.
void SetMeasured(const RecallSums& sums, RecallEstimate* estimate);

}  // namespace vecino::engine
