// Rows and queries rounded to 8 bits, and their products.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/index/cpu.h"
#include "server/index/metric.h"

namespace vecino::index {

// A row x of d floats is kept as d bytes u and one scale: x[i] ≈ scale · (u[i] − 128), u in 1..255,
// scale = max|x| / 127. Bytes stand at `stride` = d rounded up to 64; what lies beyond d is 128, so
// that it counts as zero. Unsigned, because vpdpbusd multiplies unsigned by signed bytes.
constexpr size_t Int8Stride(size_t d) { return (d + 63) / 64 * 64; }

// codes: Int8Stride(d) bytes, written. Returns the scale; 0 for a row of zeros.
float QuantizeRow(const float* row, size_t d, uint8_t* codes);

// ‖x − x̂‖₂ of a row and its codes, rounded up: what products of x̂ can be off by, times ‖q‖₂.
float RowError(const float* row, size_t d, const uint8_t* codes, float scale);

// Rows somewhere in memory, not owned.
struct Int8Rows {
  Metric metric = Metric::kInnerProduct;
  size_t d = 0;
  const uint8_t* codes = nullptr;  // row-major, Int8Stride(d) bytes a row; fastest 64-byte aligned
  const float* scales = nullptr;   // one a row
  const float* norms = nullptr;    // squared length of each row before rounding; null unless kL2
};

// A query rounded the same way, but signed.
class Int8Query {
 public:
  Int8Query() = default;
  // query: d floats, not kept.
  Int8Query(const float* query, size_t d) { Assign(query, d); }
  void Assign(const float* query, size_t d);  // reuses the memory

  const int8_t* codes() const { return codes_.data(); }  // Int8Stride(d), zeros beyond d
  float scale() const { return scale_; }
  int32_t sum() const { return sum_; }          // of the codes
  float squared_norm() const { return norm_; }  // of the query before rounding
  float error() const { return error_; }        // ‖q − q̂‖₂, rounded up

 private:
  std::vector<int8_t> codes_;
  float scale_ = 0;
  int32_t sum_ = 0;
  float norm_ = 0;
  float error_ = 0;
};

// Scores as the metric wants them (inner product, or squared distance), from rounded rows.
// Rows first to first + n − 1, or the rows named by `slots` (any order, prefetched ahead). scores:
// n floats, written. The integer products are exact, so every level gives the same bits. Beside
// what RowError and error() bound, floats put scores off by up to 3 · 2^-24 of the product, with
// kL2 up to 2^-21 of the sum of both squared lengths. Thread safe; d up to 32768 cannot overflow.
void ScoreRange(const Int8Rows& rows, const Int8Query& query, size_t first, size_t n, float* scores,
                CpuLevel level = BestCpuLevel());
void ScoreSlots(const Int8Rows& rows, const Int8Query& query, const uint32_t* slots, size_t n,
                float* scores, CpuLevel level = BestCpuLevel());

}  // namespace vecino::index
