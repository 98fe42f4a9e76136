// Scores of many rows against one query.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "server/index/metric.h"

namespace vecino::index {

// query: d floats. rows: n rows of d floats, row-major. scores: n floats, written.
// No alignment is asked for; every d >= 1 works. Thread safe, uses the calling thread only.
using ScoreFn = void (*)(const float* query, const float* rows, size_t d, size_t n, float* scores);

// One implementation of the two metrics.
struct Kernels {
  std::string_view name;  // "avx512", "avx2" or "faiss"
  ScoreFn inner_product;
  ScoreFn l2;
};

// All that this CPU runs, the fastest first; the last is FAISS' own, which Debian builds for any
// x86-64 (2.3 to 2.5 times slower at d = 384 from memory).
const std::vector<Kernels>& SupportedKernels();

// Scores with the fastest kernels. The score of a row depends on the row and the query only, not on
// where the row lies or what is around it.
void Score(Metric metric, const float* query, const float* rows, size_t d, size_t n, float* scores);

}  // namespace vecino::index
