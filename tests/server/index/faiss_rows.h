// Rows that lie as embeddings do, for the tests of FAISS's kinds and of exports.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/server/index/vectors.h"

namespace vecino::index {

// n rows of d floats around 40 centres. unit: of length 1.
inline std::vector<float> ClusteredRows(int n, int d, bool unit, int seed = 7) {
  constexpr int kCentres = 40;
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  const std::vector<float> centre = RandomVector(rng, static_cast<size_t>(kCentres * d));
  std::vector<float> rows(static_cast<size_t>(n) * d);
  for (int i = 0; i < n; ++i) {
    const auto c = static_cast<int>(rng() % kCentres);
    float* row = &rows[static_cast<size_t>(i) * d];
    double norm = 0;
    for (int j = 0; j < d; ++j) {
      row[j] = centre[c * d + j] + 0.7f * normal(rng);
      norm += row[j] * row[j];
    }
    for (int j = 0; unit && j < d; ++j) row[j] /= static_cast<float>(std::sqrt(norm));
  }
  return rows;
}

inline uint64_t LabelOf(int row) { return 100 + 3 * static_cast<uint64_t>(row); }

}  // namespace vecino::index
