// Random rows and exact scores for the tests of this folder.
#pragma once

#include <cstddef>
#include <random>
#include <vector>

#include "server/index/metric.h"

namespace vecino::index {

inline std::vector<float> RandomVector(std::mt19937& rng, size_t d) {
  std::normal_distribution<float> normal;
  std::vector<float> v(d);
  for (float& x : v) x = normal(rng);
  return v;
}

// In double, the plain way.
inline double ExactScore(Metric metric, const float* a, const float* b, size_t d) {
  double sum = 0;
  for (size_t i = 0; i < d; ++i) {
    const double x = a[i], y = b[i];
    sum += metric == Metric::kL2 ? (x - y) * (x - y) : x * y;
  }
  return sum;
}

}  // namespace vecino::index
