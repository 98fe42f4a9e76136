// Whether searches find as much as they were asked to: AUTO's lists over some rows, queries that
// are none of them, and filters that let random shares pass. For a test and a benchmark.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/index/ivf_search.h"
#include "server/index/ivf_segment.h"
#include "server/index/shard_index.h"

namespace vecino::index {

// n × d rows of length 1 and, of the same kind, queries.
struct PromiseData {
  size_t d = 0;
  std::vector<float> rows, queries;
  size_t row_count() const { return rows.size() / d; }
  size_t query_count() const { return queries.size() / d; }

  // Normal noise about `clusters` centres, of which some have many more rows, in `inner`
  // dimensions that lie in d; 0 clusters: one.
  static PromiseData Make(size_t rows, size_t queries, size_t d, size_t inner, size_t clusters,
                          unsigned seed);
};

struct PromiseAnswer {
  double recall = 0;                               // of all queries asked
  double breadth = 0;                              // mean
  double scanned = 0, reranked = 0, compared = 0;  // rows by codes or lists, again, and all: means
  double cost = 0;                                 // by SearchCost, of centroids too: mean, in ns
  double micros = 0;                               // of this thread's CPU, mean
  double expected = 0;                             // recall by calibration, mean
};

class Promise {
 public:
  // Trains, encodes, calibrates. Throws std::runtime_error.
  explicit Promise(PromiseData data, int threads = 1);

  // Rows that pass from now on: a random share.
  void Filter(double share);
  int64_t passing() const { return passing_; }
  // Of the first `queries` queries.
  PromiseAnswer Ask(const SearchParams& params, size_t queries) const;

  size_t queries() const { return data_.query_count(); }
  const Generation& generation() const { return *segment_->generation(); }
  double train_seconds = 0, encode_seconds = 0, calibrate_seconds = 0;

 private:
  PromiseData data_;
  std::shared_ptr<const IvfSegment> segment_;
  std::vector<uint64_t> allowed_;  // empty: all
  int64_t passing_ = 0;
  int best_ = 0;               // known of each query
  std::vector<float> scores_;  // of them
};

}  // namespace vecino::index
