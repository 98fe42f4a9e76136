// The best k of the hits pushed into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/index/hit.h"

namespace vecino::index {

// A bounded heap. Not thread safe: one per search. O(log k) for a hit that gets in, O(1) otherwise.
class TopK {
 public:
  // k >= 1.
  TopK(Metric metric, int k);

  // Takes the hit if it is among the best k so far. A NaN score never gets in.
  void Push(uint64_t label, float score) {
    if (full() && !RanksBefore(metric_, Hit{label, score}, heap_.front())) return;
    Insert(Hit{label, score});
  }

  // Whether a row of this score could get in, whatever its label.
  bool MayTake(float score) const {
    return !full() ||
           !RanksBefore(metric_, Hit{~uint64_t{0}, heap_.front().score}, Hit{~uint64_t{0}, score});
  }

  bool full() const { return heap_.size() == k_; }
  // The score of the worst hit kept; not of an empty one.
  float worst() const { return heap_.front().score; }
  size_t k() const { return k_; }
  Metric metric() const { return metric_; }

  // The hits, best first. Leaves this empty.
  std::vector<Hit> Take();

 private:
  void Insert(const Hit& hit);

  const Metric metric_;
  const size_t k_;
  std::vector<Hit> heap_;  // the worst kept hit in front
};

}  // namespace vecino::index
