// Whether searches find as much as they were asked to: AUTO's lists over some rows, queries that
// are none of them, and filters that let random shares pass. For a test and a benchmark.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "server/index/graph.h"
#include "server/index/ivf_search.h"
#include "server/index/ivf_segment.h"
#include "server/index/passing_codes.h"
#include "server/index/shard_index.h"
#include "server/index/top_k.h"

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
  // Each row `times` times, turned to a cosine of about `cosine` in any direction; the queries stay
  // what they are.
  void CopyRows(size_t times, float cosine, unsigned seed);
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
  // Trains, encodes, calibrates. threads: for these and for finding the true best. Throws
  // std::runtime_error.
  explicit Promise(PromiseData data, int threads = 1);

  // Rows that pass from now on: a random share.
  void Filter(double share);
  // Until the next Filter their codes stand by themselves.
  void Code();
  int64_t passing() const { return passing_; }
  // Of the first `queries` queries, at least one. Recall is of params.AimedAt() rows.
  PromiseAnswer Ask(const SearchParams& params, size_t queries) const;
  // The same with params.breadth or params.nprobe lists, of whose rows those that pass are all
  // scored by 8 bits: also where a search compares all that pass whatever lists it is told.
  PromiseAnswer AskLists(const SearchParams& params, size_t queries) const;
  // A graph over the rows, and searches of it under no filter. `breadth` is ef, `expected` what it
  // is expected to find; of what they compared nothing is told. Throws std::runtime_error.
  void BuildGraph();
  PromiseAnswer AskGraph(const SearchParams& params, size_t queries) const;

  size_t queries() const { return data_.query_count(); }
  int64_t rows() const { return segment_->size(); }
  const Generation& generation() const { return *segment_->generation(); }
  double train_seconds = 0, encode_seconds = 0, calibrate_seconds = 0;

 private:
  // one: does the search of a query.
  PromiseAnswer Mean(
      const SearchParams& params, size_t queries,
      absl::FunctionRef<void(const float* query, TopK* top, IvfWork* work)> one) const;
  void SearchLists(const float* query, const SearchParams& params, TopK* top, IvfWork* work) const;

  PromiseData data_;
  int threads_;
  std::shared_ptr<const IvfSegment> segment_;
  std::shared_ptr<const Graph> graph_;         // null: none
  std::vector<uint64_t> allowed_;              // empty: all
  std::shared_ptr<const PassingCodes> codes_;  // null: none
  int64_t passing_ = 0;
  int best_ = 0;               // known of each query
  std::vector<float> scores_;  // of them
};

// What a search may cost beside the best fixed setting.
inline constexpr double kMostPromiseCost = 1.15;

// Fixed settings: lists with and without the probe rule, each with several numbers of rows scored
// again, and all rows that pass by their 8 bits.
struct PromiseSweep {
  // In each of them settings differ in the number of lists only, which ascends.
  std::vector<std::vector<PromiseAnswer>> chains;
  PromiseAnswer all;  // recall is 1 but for rounding
  // Whether every search here compares all that pass, whatever it is told: so few pass, or so large
  // a part of them is wanted. The chains tell then what lists would take.
  bool exact = false;
};
// Of the filter that is set, each setting asked with the first `queries` queries. A chain ends
// where it finds most_recall, costs more than most_cost, or finds nothing more.
PromiseSweep Sweep(const Promise& promise, int k, double most_recall, double most_cost,
                   size_t queries);

// The least `what` (cost or micros) of a setting that finds the recall, interpolated between
// neighbours in a chain; of all rows where no lists find it for less.
double Cheapest(const PromiseSweep& sweep, double recall, double PromiseAnswer::*what);

}  // namespace vecino::index
