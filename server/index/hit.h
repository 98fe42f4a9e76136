// One row found by a search.
#pragma once

#include <cstdint>

#include "server/index/metric.h"

namespace vecino::index {

struct Hit {
  uint64_t label = 0;  // sequence number of the write that made the row
  float score = 0;     // under the index's metric
};

// Whether `a` ranks before `b`: the better score first, equal scores by ascending label. A strict
// weak ordering as long as no score is NaN.
inline bool RanksBefore(Metric metric, const Hit& a, const Hit& b) {
  if (a.score != b.score) {
    return metric == Metric::kL2 ? a.score < b.score : a.score > b.score;
  }
  return a.label < b.label;
}

}  // namespace vecino::index
