// Rows in clusters of different sizes, for the tests of training.
#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "tests/server/index/vectors.h"

namespace vecino::index {

// n rows around n / 25 centres; the first centres have more rows. unit: of length 1.
inline std::vector<float> ClusteredRows(size_t n, size_t d, unsigned seed, bool unit = false) {
  std::mt19937 rng(seed);
  const size_t clusters = n / 25 + 1;
  std::vector<std::vector<float>> centres;
  for (size_t c = 0; c < clusters; ++c) centres.push_back(RandomVector(rng, d));
  std::vector<float> rows;
  rows.reserve(n * d);
  for (size_t r = 0; r < n; ++r) {
    const double u = std::uniform_real_distribution<>()(rng);
    const auto c = static_cast<size_t>(u * std::sqrt(u) * static_cast<double>(clusters));
    std::vector<float> row = RandomVector(rng, d);
    double norm = 0;
    for (size_t i = 0; i < d; ++i) {
      row[i] = 2 * centres[c][i] + 0.7f * row[i];
      norm += static_cast<double>(row[i]) * row[i];
    }
    const auto scale = unit ? static_cast<float>(1 / std::sqrt(norm)) : 1.0f;
    for (float x : row) rows.push_back(x * scale);
  }
  return rows;
}

}  // namespace vecino::index
