// Exact search over rounded rows: 8-bit products with a bound on what rounding did, then exact
// scores of the few rows that the bound leaves open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "server/index/cpu.h"
#include "server/index/int8_rows.h"
#include "server/index/metric.h"
#include "server/index/top_k.h"

namespace vecino::index {

// A query against rows of one part (a tail's chunks, a flat segment). With ‖x − x̂‖ ≤ e_x for each
// row and ‖q − q̂‖ = e_q: |q·x − q̂·x̂| ≤ ‖q‖·e_x + e_q·‖x̂‖, so a row whose best possible score is
// worse than the k-th best of the worst possible scores cannot be among the best k. Reads 1 byte a
// dimension instead of 4 and returns what a scan of the floats would return: bit for bit the same
// hits, since the bounds include what floating point does to either score, and what overflows or is
// not a number stays open. Not thread safe: one per search; reused between queries.
class BoundedScan {
 public:
  // Whether it is quicker than to score the floats of all rows, not so below d = 32 or so.
  static constexpr bool Pays(size_t d) { return d >= 32 && d <= 32768; }

  // query: d floats, kept by pointer until Finish. top: what Finish will push to; rows that cannot
  // get in beside what it holds are left out, so what segments gave spares a tail's rows.
  void Start(const float* query, size_t d, const TopK& top, CpuLevel level = BestCpuLevel());

  // Rows first to first + n − 1 of `rows`, except those whose bit in `live` is clear (bit i of word
  // i / 64 is row first + i; null: all live). errors: RowError of each of rows' rows. row_norms:
  // ‖x‖₂ of each, rounded up. The row numbers given here are what Finish hands to `row`, plus
  // `base`.
  void Scan(const Int8Rows& rows, const float* errors, const float* row_norms, size_t first,
            size_t n, const uint64_t* live, uint64_t base);

  // Scores what is left open exactly, the most promising first, as long as it can get in, and
  // pushes it. row: gives d floats of base + row number; label: its label. top: that of Start; what
  // it holds already only saves work.
  void Finish(absl::FunctionRef<const float*(uint64_t)> row,
              absl::FunctionRef<uint64_t(uint64_t)> label, TopK* top);

  size_t scored_exactly() const { return scored_exactly_; }  // by the last Finish

  // By how much a score of rounded rows may differ from the score of the floats, the latter as the
  // kernels of distance.h compute it:
  //   error · e_x + (norm + square · ‖x‖) · ‖x‖ + constant,
  // for rows of ‖x‖ ≤ max_norm; nothing is known of longer ones, where floats may overflow.
  struct Margin {
    float error = 0, norm = 0, square = 0, constant = 0, max_norm = 0;
  };

 private:
  // A row that may be needed. `best`: what its score cannot exceed. Here and below, scores are such
  // that more is better: distances are negated.
  struct OpenRow {
    uint64_t number = 0;
    float best = 0;
  };

  void Consider(uint64_t number, float score, float error, float norm);
  void Close();

  Metric metric_ = Metric::kInnerProduct;
  CpuLevel level_ = CpuLevel::kPortable;
  const float* query_ = nullptr;
  size_t d_ = 0, k_ = 1;
  Int8Query rounded_;
  Margin margin_;
  std::vector<float> worst_;  // the k best of the worst possible scores; a heap, the least in front
  // What the best possible score must reach: that front once there are k, at first −∞ or the worst
  // of a full `top`.
  float threshold_ = 0;
  std::vector<OpenRow> open_;
  size_t close_at_ = 0;  // size of open_ at which to look what can be closed
  size_t scored_exactly_ = 0;
};

// ‖row‖₂ rounded up, as Scan wants it. *squared, unless null: its square, as Int8Rows wants it.
float RowNorm(const float* row, size_t d, float* squared);

}  // namespace vecino::index
