#include "server/index/faiss_hnsw.h"

#include <faiss/utils/random.h>
#include <omp.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace vecino::index {
namespace {

// Rows between two calls of the checkpoint: each takes some 0.2 ms at 300,000 × 384.
constexpr int64_t kStep = 16;

// FAISS locks rows as it links them; here nobody else does, but the locks must exist.
class Locks {
 public:
  explicit Locks(int64_t n) : locks_(static_cast<size_t>(n)) {
    for (omp_lock_t& lock : locks_) omp_init_lock(&lock);
  }
  ~Locks() {
    for (omp_lock_t& lock : locks_) omp_destroy_lock(&lock);
  }
  Locks(const Locks&) = delete;
  Locks& operator=(const Locks&) = delete;

  std::vector<omp_lock_t>& get() { return locks_; }

 private:
  std::vector<omp_lock_t> locks_;
};

}  // namespace

faiss::VisitedTable& HnswVisited(int64_t n) {
  thread_local faiss::VisitedTable table(0);
  if (table.visited.size() < static_cast<size_t>(n)) table.visited.resize(static_cast<size_t>(n));
  return table;
}

absl::Status LinkHnsw(Metric metric, const FaissRows& rows, int64_t n, faiss::HNSW* hnsw,
                      Checkpoint checkpoint) {
  hnsw->prepare_level_tab(static_cast<size_t>(n));
  // From the highest level down, shuffled within each, as IndexHNSW::add does.
  std::vector<int> order(static_cast<size_t>(n));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return hnsw->levels[a] > hnsw->levels[b]; });
  faiss::RandomGenerator random(789);
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && hnsw->levels[order[end]] == hnsw->levels[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) {
      std::swap(order[i], order[i + random.rand_int(static_cast<int>(end - i))]);
    }
    begin = end;
  }
  Locks locks(n);
  faiss::VisitedTable visited(static_cast<int>(n));
  HnswDistance distance(metric, rows);
  for (int64_t i = 0; i < n; ++i) {
    if (i % kStep == 0) {
      if (absl::Status status = checkpoint(); !status.ok()) return status;
    }
    const int row = order[static_cast<size_t>(i)];
    distance.set_query(rows[row]);
    hnsw->add_with_locks(distance, hnsw->levels[row] - 1, row, locks.get(), visited);
  }
  return absl::OkStatus();
}

}  // namespace vecino::index
