// Old and new build of the same rows, measured on the same queries against brute force.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/index/frozen_rows.h"
#include "server/index/metric.h"
#include "server/index/parallel.h"
#include "server/index/search_params.h"
#include "server/index/view.h"

namespace vecino::index {

// Queries and what each should find among some frozen rows. Stored rows as queries are left out of
// their own answers; those that IsHeldOut are taken, which no generation was trained on, and others
// only where there are too few of them. Not thread safe.
class Trial {
 public:
  // With 1,000 queries for 10 rows the mean of the recall has a standard error of .003 at .95.
  static constexpr int kQueries = 1'000;
  // Fewer held-out rows than this are joined by others.
  static constexpr int kEnough = 200;
  static constexpr int kK = 10;
  // Of the queries those that are asked under a filter, too: its recall has a standard error of
  // .006.
  static constexpr int kFilteredQueries = 300;
  // That filter lets one row in so many pass, by a hash of its label.
  static constexpr int kFilter = 10;

  // rows: at least one, all of one index; the caller keeps them. live: n × d floats, queries
  // besides. Takes TrialBytes. An error is the checkpoint's, or RESOURCE_EXHAUSTED. threads: of
  // ParallelFor; any number gives the same.
  static absl::StatusOr<Trial> Make(absl::Span<const FrozenRows* const> rows, Metric metric,
                                    size_t d, absl::Span<const float> live, uint64_t seed,
                                    Checkpoint checkpoint, int threads = 1);

  int queries() const { return static_cast<int>(self_.size()); }
  // Of these, rows that no training saw.
  int held_out() const { return held_out_; }

  // The segments that the rows stand in now, with what was dead when they were frozen, without
  // their graphs: a new build has none yet.
  const std::vector<SegmentRows>& before() const { return before_; }

  // Means over the queries.
  struct Figures {
    double recall = 0;        // share of the best kK that was found; ties count
    double rows_scanned = 0;  // whose codes or vectors were compared; 0: the kind does not say
    double seconds = 0;       // of one thread's processor, the median
  };
  // Each query against one after the other, in turns. params.k is set. A side without segments
  // gives zeros.
  struct Pair {
    Figures a, b;
  };
  // What is searched for: the best kK of all rows, by all queries; the best one; or the best kK
  // under the filter, by kFilteredQueries of them (none, and so zeros, where too few rows pass).
  enum class Kind { kBestTen, kBest, kFiltered };
  absl::StatusOr<Pair> Compare(const std::vector<SegmentRows>& a, const std::vector<SegmentRows>& b,
                               const SearchParams& params, Checkpoint checkpoint, int threads = 1,
                               Kind kind = Kind::kBestTen) const;

 private:
  Trial() = default;
  // The true best of the queries under the filter.
  absl::Status FindFiltered(absl::Span<const std::pair<size_t, int64_t>> stored,
                            Checkpoint checkpoint, int threads);
  bool Good(float worst, float score) const;

  Metric metric_ = Metric::kInnerProduct;
  size_t d_ = 0;
  int k_ = 0;
  int held_out_ = 0;
  std::vector<float> queries_;       // × d
  std::vector<uint64_t> self_;       // label that is left out; 0: none
  std::vector<float> best_;          // the best true score
  std::vector<float> kth_;           // the worst score among the true best k_
  std::vector<size_t> filtered_;     // queries that are asked under the filter
  std::vector<float> filtered_kth_;  // and the worst score among their best k_ that pass
  std::vector<SegmentRows> before_;
};

// What a trial of so many rows takes at most while it is made.
int64_t TrialBytes(int64_t rows, int dimension, int threads);

}  // namespace vecino::index
