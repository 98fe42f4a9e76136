// Memory for 256 rows rounded to 8 bits, and what a BoundedScan must know of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "server/index/bounded_scan.h"
#include "server/index/int8_rows.h"
#include "server/index/metric.h"

namespace vecino::index {

// Thread safety: a row may be read while others are set, once its own Set has happened before.
class RoundedRows {
 public:
  static constexpr size_t kRows = 256;  // what ScoreRange takes at once; a multiple of 64

  // Takes Bytes(metric, d) at once. Throws std::bad_alloc.
  RoundedRows(Metric metric, size_t d);

  static size_t Bytes(Metric metric, size_t d) {
    return kRows * (Int8Stride(d) + sizeof(float) * (metric == Metric::kL2 ? 4 : 3));
  }

  // i: below kRows, set once. row: d floats, read.
  void Set(size_t i, const float* row);

  // Hands the first n rows to `scan`; they have been set. live: of row 0 on. base: as
  // BoundedScan's.
  void Scan(BoundedScan* scan, size_t n, const uint64_t* live, uint64_t base) const {
    scan->Scan({metric_, d_, codes_.get(), scales_, squared_}, errors_, norms_, 0, n, live, base);
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(uint8_t* memory) const { ::operator delete(memory, kAlignment); }
  };

  Metric metric_;
  size_t d_;
  std::unique_ptr<uint8_t, Free> codes_;  // all memory; what follows points behind the codes
  float* scales_;
  float* errors_;
  float* norms_;
  float* squared_;  // null unless kL2
};

}  // namespace vecino::index
