// Products of many 8-bit vectors with many others: a blocked matrix product whose results are used
// tile by tile, so that the matrix itself is never written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/index/cpu.h"

namespace vecino::index {

// A tile is 6 rows × 64 columns: 24 registers of sums, 4 of columns and one of a row fill the 32 of
// AVX-512, and 10 loads serve 24 multiplications.
inline constexpr size_t kTileRows = 6;
inline constexpr size_t kTileColumns = 64;

// Bytes a row takes: vpdpbusd multiplies four at once.
constexpr size_t GemmDepth(size_t d) { return (d + 3) / 4 * 4; }

// What became of one row: row − centre ≈ scale · (code − 128).
struct RoundedRow {
  float scale = 0;  // 0 for a row that equals the centre
  float norm = 0;   // ‖row − centre‖² before rounding
};

// Rounds row − centre to bytes 1..255 as QuantizeRow rounds a row, but to another stride. row: d
// floats. centre: d floats, or null for zeros. scratch: GemmDepth(d) floats, overwritten. codes:
// GemmDepth(d) bytes, written; 128 beyond d. Any CPU gives the same.
RoundedRow RoundRow(const float* row, const float* centre, size_t d, float* scratch,
                    uint8_t* codes);

// Rows of one product, not owned.
struct GemmRows {
  const uint8_t* codes = nullptr;  // n × GemmDepth(d)
  const float* scales = nullptr;   // one a row
  size_t n = 0;                    // a multiple of kTileRows; fill up with codes 128
};

// Rows rounded to be multiplied. Set may be called for different rows at once; nothing else beside
// it.
class GemmRowBuffer {
 public:
  // n rows of d dimensions, zeros until set.
  GemmRowBuffer(size_t n, size_t d);

  void Set(size_t i, const float* row, const float* centre);

  float norm(size_t i) const { return norms_[i]; }
  // n rows from first on, a multiple of kTileRows; n is rounded up to the next.
  GemmRows Rows(size_t first, size_t n) const;

 private:
  size_t d_, depth_;
  std::vector<uint8_t> codes_;
  std::vector<float> scales_, norms_;
};

// How many rows to take at once, so that they stay in the L2 cache while panels pass by.
size_t GemmBlockRows(size_t d);

// The columns, packed in panels of 64 so that a register takes 4 bytes of each of 16 columns.
// Columns that were not set have score −∞. Not thread safe while Set is called.
class GemmColumns {
 public:
  GemmColumns(size_t count, size_t d);

  // codes: GemmDepth(d) bytes as RoundRow makes them. The score of a row r for this column is
  //   (scale of r · scale) · (r · column) − offset.
  void Set(size_t column, const uint8_t* codes, float scale, float offset);

  size_t count() const { return count_; }
  size_t depth() const { return depth_; }
  size_t bytes() const { return panels() * kTileColumns * (depth_ + 3 * sizeof(float)); }
  size_t panels() const { return (count_ + kTileColumns - 1) / kTileColumns; }

  // Of panel p: depth() × 64 signed bytes, and kTileColumns each of the others.
  const int8_t* codes(size_t p) const { return lines_[p * depth_].bytes; }
  const int32_t* bias(size_t p) const { return bias_.data() + p * kTileColumns; }
  const float* scales(size_t p) const { return scales_.data() + p * kTileColumns; }
  const float* offsets(size_t p) const { return offsets_.data() + p * kTileColumns; }

 private:
  struct alignas(64) Line {
    int8_t bytes[64] = {};
  };

  size_t count_, depth_;
  std::vector<Line> lines_;    // depth_ of them a panel
  std::vector<int32_t> bias_;  // −128 · the sum of a column: what unsigned rows are off by
  std::vector<float> scales_, offsets_;
};

// The best column of one row so far, for the columns i, i + 16, i + 32… in lane i.
struct alignas(64) BestColumns {
  float score[16];
  uint32_t column[16];

  void Reset();
  // The best of all lanes; of equal ones the lowest column. Column 0 when no score was a number.
  uint32_t Take(float* score_of_it) const;
};

// Updates `best` (one a row) with the columns of one panel. All levels give the same bits.
void FindBest(const GemmRows& rows, const GemmColumns& columns, size_t panel, BestColumns* best,
              CpuLevel level);

struct GemmHit {
  uint32_t row, column;
  float score;
};

// Writes to `hits` (room for rows.n × kTileColumns) the cells of one panel with
//   score − row_offsets[row] > thresholds[column],
// in ascending order of rows, and returns how many. The score of a hit has the row's offset taken
// off. thresholds: kTileColumns, of this panel; ∞ for columns that do not count. All levels give
// the same bits.
size_t FindAbove(const GemmRows& rows, const float* row_offsets, const GemmColumns& columns,
                 size_t panel, const float* thresholds, GemmHit* hits, CpuLevel level);

}  // namespace vecino::index
