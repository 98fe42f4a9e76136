// FAISS's HNSW over rows that it does not hold, scored by our kernels.
#pragma once

#include <faiss/IndexHNSW.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>

#include <cstdint>

#include "absl/status/status.h"
#include "server/index/distance.h"
#include "server/index/faiss_search.h"
#include "server/index/kmeans.h"

namespace vecino::index {

// Distances for FAISS: lower is nearer, so inner products are negated.
class HnswDistance final : public faiss::DistanceComputer {
 public:
  HnswDistance(Metric metric, const FaissRows& rows)
      : metric_(metric), sign_(metric == Metric::kL2 ? 1.0f : -1.0f), rows_(rows) {}

  void set_query(const float* query) override { query_ = query; }
  float operator()(idx_t i) override {
    ++computed_;
    return Between(query_, rows_[i]);
  }
  float symmetric_dis(idx_t i, idx_t j) override { return Between(rows_[i], rows_[j]); }

  float ToScore(float distance) const { return sign_ * distance; }
  int64_t computed() const { return computed_; }  // of the query to rows, so far

 private:
  float Between(const float* a, const float* b) const {
    float score;
    Score(metric_, a, b, rows_.d, 1, &score);
    return sign_ * score;
  }

  const Metric metric_;
  const float sign_;
  const FaissRows rows_;
  const float* query_ = nullptr;
  int64_t computed_ = 0;
};

// This thread's table of visited slots, with room for n. One byte a slot is kept per thread, which
// is cheaper than clearing it for each search. Call advance() before use.
faiss::VisitedTable& HnswVisited(int64_t n);

// Links rows 0 to n − 1 into `hnsw`, which is empty. The same graph as one call of IndexHNSW::add
// would make on one thread. The checkpoint's error; throws what FAISS throws.
absl::Status LinkHnsw(Metric metric, const FaissRows& rows, int64_t n, faiss::HNSW* hnsw,
                      Checkpoint checkpoint);

}  // namespace vecino::index
