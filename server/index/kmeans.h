// k-means fast enough to run while serving: blocked products of 8-bit integers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/index/byte_gemm.h"
#include "server/index/cpu.h"
#include "server/index/metric.h"
#include "server/index/parallel.h"

namespace vecino::index {

class Tombstones;

struct KMeansOptions {
  int clusters = 0;  // 1 to the number of rows
  int iterations = 10;
  // So many of the first iterations look at a quarter of the rows only, where that is a row for
  // each cluster at least: the centroids are far from where they will be yet.
  int coarse_iterations = 0;
  int max_rows_per_cluster = 64;  // more rows than this × clusters are sampled down
  uint64_t seed = 1234;           // equal input and seed give equal output on every level
  bool spherical = false;         // centroids are normalised; for rows of length 1
  // Above this many clusters, rows are first split coarsely and then each part by itself. (What
  // comes of that finds less: recall .937 against .955 with 128 of 4,400 lists.)
  int two_level_above = 10'000;
  int threads = 1;  // of ParallelFor; any number gives the same output
  // Unless null, rows are added to it as they are compared with all clusters, each several times:
  // KMeansRows in all, or fewer when it stops early.
  std::atomic<int64_t>* compared = nullptr;
};

// How many rows a training of n rows compares with all clusters at most, each pass counted.
int64_t KMeansRows(int64_t n, const KMeansOptions& options);

// rows: n × d floats. Returns clusters × d floats. A cluster that loses its rows, or falls far
// under the mean, is re-seeded by splitting a large one, so that lists stay balanced. Stops
// early when an iteration gains less than 1e-4.
// INVALID_ARGUMENT when clusters is not in 1..n; RESOURCE_EXHAUSTED when there is no memory; else
// the checkpoint's errors.
absl::StatusOr<std::vector<float>> TrainKMeans(const float* rows, size_t n, size_t d,
                                               const KMeansOptions& options, Checkpoint checkpoint,
                                               CpuLevel level = BestCpuLevel());

// Finds, for many rows, the nearest of a set of centroids (by L2; for centroids of length 1 that is
// also the highest inner product). Products are of rounded rows, so near ties may go either way; of
// equal centroids the first is taken. Immutable after construction; Assign is safe from any thread.
class CentroidAssigner {
 public:
  // centroids: count × d floats, count ≥ 1, copied (rounded). Throws std::bad_alloc.
  CentroidAssigner(const float* centroids, size_t count, size_t d);

  // rows: n × d floats. lists: n, written. distances, unless null: n squared distances
  // (approximate). An error is the checkpoint's, or RESOURCE_EXHAUSTED. On the calling thread.
  absl::Status Assign(const float* rows, size_t n, uint32_t* lists, float* distances,
                      Checkpoint checkpoint, CpuLevel level = BestCpuLevel()) const;

  size_t count() const { return columns_.count(); }
  int64_t bytes() const;  // of memory

 private:
  size_t d_;
  std::vector<float>
      centre_;  // mean of the centroids; distances do not change when it is taken off
  GemmColumns columns_;
};

// The `k` best rows for each query by brute force: blocked 8-bit products, then exact scores of the
// best k + min(3 · k, 200) + 128 by these, far more than rounding moves. For calibration and for
// measuring recall. best: n_queries × k row numbers, best first, of equal scores the lower; −1
// where there are fewer rows. scores: the same, as Score (distance.h) gives them; the worst
// possible beside −1. exclude: for each query a row number that is not to be found (itself), or
// null. threads: of ParallelFor; any number gives the same. dead: rows that no query is to find, or
// null. An error is the checkpoint's, INVALID_ARGUMENT for k < 1, or RESOURCE_EXHAUSTED.
absl::Status BruteForceTopK(const float* rows, size_t n, size_t d, Metric metric,
                            const float* queries, size_t n_queries, const int64_t* exclude, int k,
                            int64_t* best, float* scores, Checkpoint checkpoint, int threads = 1,
                            CpuLevel level = BestCpuLevel(), const Tombstones* dead = nullptr);

}  // namespace vecino::index
