// Compiled without contraction of a · b + c, so that every level rounds alike.
#include "server/index/byte_gemm.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "server/index/float4.h"
#include "server/index/simd.h"

namespace vecino::index {
namespace {

struct Tile {
  alignas(64) int32_t products[kTileRows][kTileColumns];
};

// One panel of the columns, as the kernels need it.
struct Panel {
  size_t first, depth;
  const int8_t* codes;
  const int32_t* bias;
  const float *scales, *offsets;

  Panel(const GemmColumns& columns, size_t p)
      : first(p * kTileColumns),
        depth(columns.depth()),
        codes(columns.codes(p)),
        bias(columns.bias(p)),
        scales(columns.scales(p)),
        offsets(columns.offsets(p)) {}
};

void Multiply(const uint8_t* rows, const Panel& panel, Tile* tile) {
  for (size_t r = 0; r < kTileRows; ++r) {
    int32_t* sums = tile->products[r];
    std::copy_n(panel.bias, kTileColumns, sums);
    const uint8_t* row = rows + r * panel.depth;
    for (size_t k = 0; k < panel.depth; k += 4) {
      const int8_t* b = panel.codes + k * kTileColumns;
      const int32_t x0 = row[k], x1 = row[k + 1], x2 = row[k + 2], x3 = row[k + 3];
      for (size_t c = 0; c < kTileColumns; ++c, b += 4) {
        sums[c] += x0 * b[0] + x1 * b[1] + x2 * b[2] + x3 * b[3];
      }
    }
  }
}

void BestPortable(const GemmRows& rows, const Panel& panel, BestColumns* best) {
  Tile tile;
  for (size_t r = 0; r < rows.n; ++r) {
    if (r % kTileRows == 0) Multiply(rows.codes + r * panel.depth, panel, &tile);
    BestColumns& b = best[r];
    for (size_t c = 0; c < kTileColumns; ++c) {
      const auto product = static_cast<float>(tile.products[r % kTileRows][c]);
      const float score = product * (panel.scales[c] * rows.scales[r]) - panel.offsets[c];
      if (score > b.score[c % 16]) {
        b.score[c % 16] = score;
        b.column[c % 16] = static_cast<uint32_t>(panel.first + c);
      }
    }
  }
}

size_t AbovePortable(const GemmRows& rows, const float* row_offsets, const Panel& panel,
                     const float* thresholds, GemmHit* hits) {
  Tile tile;
  size_t found = 0;
  for (size_t r = 0; r < rows.n; ++r) {
    if (r % kTileRows == 0) Multiply(rows.codes + r * panel.depth, panel, &tile);
    for (size_t c = 0; c < kTileColumns; ++c) {
      const auto product = static_cast<float>(tile.products[r % kTileRows][c]);
      const float score =
          (product * (panel.scales[c] * rows.scales[r]) - panel.offsets[c]) - row_offsets[r];
      if (score > thresholds[c]) {
        hits[found++] = {static_cast<uint32_t>(r), static_cast<uint32_t>(panel.first + c), score};
      }
    }
  }
  return found;
}

#if defined(__x86_64__)

// 3 rows × 16 columns at a time. Signed by signed, by way of |row| and the sign of the row given to
// the column, because the sum of two products of 255 · 127 would saturate.
VECINO_AVX2 inline void Multiply3x16(const uint8_t* rows, const Panel& panel, size_t column,
                                     int32_t (*out)[kTileColumns]) {
  const __m256i ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8(-128);
  const int8_t* b = panel.codes + 4 * column;
  __m256i s00 = _mm256_setzero_si256(), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00;
  for (size_t k = 0; k < panel.depth; k += 4, b += 4 * kTileColumns) {
    const __m256i b0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(b));
    const __m256i b1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(b + 32));
    int32_t x[3];
    std::memcpy(x, rows + k, 4);
    std::memcpy(x + 1, rows + panel.depth + k, 4);
    std::memcpy(x + 2, rows + 2 * panel.depth + k, 4);
    __m256i a = _mm256_xor_si256(_mm256_set1_epi32(x[0]), flip), size = _mm256_abs_epi8(a);
    s00 = _mm256_add_epi32(
        s00, _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(b0, a)), ones));
    s01 = _mm256_add_epi32(
        s01, _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(b1, a)), ones));
    a = _mm256_xor_si256(_mm256_set1_epi32(x[1]), flip), size = _mm256_abs_epi8(a);
    s10 = _mm256_add_epi32(
        s10, _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(b0, a)), ones));
    s11 = _mm256_add_epi32(
        s11, _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(b1, a)), ones));
    a = _mm256_xor_si256(_mm256_set1_epi32(x[2]), flip), size = _mm256_abs_epi8(a);
    s20 = _mm256_add_epi32(
        s20, _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(b0, a)), ones));
    s21 = _mm256_add_epi32(
        s21, _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(b1, a)), ones));
  }
  _mm256_store_si256(reinterpret_cast<__m256i*>(out[0] + column), s00);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out[0] + column + 8), s01);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out[1] + column), s10);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out[1] + column + 8), s11);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out[2] + column), s20);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out[2] + column + 8), s21);
}

VECINO_AVX2 void MultiplyAvx2(const uint8_t* rows, const Panel& panel, Tile* tile) {
  for (size_t column = 0; column < kTileColumns; column += 16) {
    Multiply3x16(rows, panel, column, tile->products);
    Multiply3x16(rows + 3 * panel.depth, panel, column, tile->products + 3);
  }
}

VECINO_AVX2 inline __m256 Scores(const int32_t* products, const Panel& panel, size_t column,
                                 __m256 row_scale) {
  const __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(panel.scales + column), row_scale);
  const __m256 product =
      _mm256_cvtepi32_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(products + column)));
  return _mm256_sub_ps(_mm256_mul_ps(product, scale), _mm256_loadu_ps(panel.offsets + column));
}

VECINO_AVX2 void BestAvx2(const GemmRows& rows, const Panel& panel, BestColumns* best) {
  Tile tile;
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (size_t r = 0; r < rows.n; ++r) {
    if (r % kTileRows == 0) MultiplyAvx2(rows.codes + r * panel.depth, panel, &tile);
    const int32_t* products = tile.products[r % kTileRows];
    const __m256 row_scale = _mm256_set1_ps(rows.scales[r]);
    for (size_t half = 0; half < 16; half += 8) {
      float* score_of = best[r].score + half;
      auto* column_of = reinterpret_cast<float*>(best[r].column + half);
      __m256 score = _mm256_load_ps(score_of), column = _mm256_load_ps(column_of);
      for (size_t c = half; c < kTileColumns; c += 16) {
        const __m256 s = Scores(products, panel, c, row_scale);
        const __m256i id =
            _mm256_add_epi32(lanes, _mm256_set1_epi32(static_cast<int>(panel.first + c)));
        const __m256 better = _mm256_cmp_ps(s, score, _CMP_GT_OQ);
        score = _mm256_blendv_ps(score, s, better);
        column = _mm256_blendv_ps(column, _mm256_castsi256_ps(id), better);
      }
      _mm256_store_ps(score_of, score);
      _mm256_store_ps(column_of, column);
    }
  }
}

VECINO_AVX2 size_t AboveAvx2(const GemmRows& rows, const float* row_offsets, const Panel& panel,
                             const float* thresholds, GemmHit* hits) {
  Tile tile;
  size_t found = 0;
  for (size_t r = 0; r < rows.n; ++r) {
    if (r % kTileRows == 0) MultiplyAvx2(rows.codes + r * panel.depth, panel, &tile);
    const int32_t* products = tile.products[r % kTileRows];
    const __m256 row_scale = _mm256_set1_ps(rows.scales[r]);
    const __m256 row_offset = _mm256_set1_ps(row_offsets[r]);
    for (size_t c = 0; c < kTileColumns; c += 8) {
      const __m256 s = _mm256_sub_ps(Scores(products, panel, c, row_scale), row_offset);
      auto above = static_cast<uint32_t>(
          _mm256_movemask_ps(_mm256_cmp_ps(s, _mm256_loadu_ps(thresholds + c), _CMP_GT_OQ)));
      if (above == 0) continue;
      alignas(32) float scores[8];
      _mm256_store_ps(scores, s);
      for (; above != 0; above &= above - 1) {
        const auto lane = static_cast<uint32_t>(std::countr_zero(above));
        hits[found++] = {static_cast<uint32_t>(r), static_cast<uint32_t>(panel.first + c) + lane,
                         scores[lane]};
      }
    }
  }
  return found;
}

VECINO_AVX512 inline void MultiplyAvx512(const uint8_t* rows, const Panel& panel, Tile* tile) {
  __m512i sums[kTileRows][4];
#pragma GCC unroll 6
  for (size_t r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < 4; ++c) sums[r][c] = _mm512_loadu_si512(panel.bias + 16 * c);
  }
  const int8_t* b = panel.codes;
  for (size_t k = 0; k < panel.depth; k += 4, b += 4 * kTileColumns) {
    __m512i columns[4];
#pragma GCC unroll 4
    for (size_t c = 0; c < 4; ++c) columns[c] = _mm512_load_si512(b + 64 * c);
#pragma GCC unroll 6
    for (size_t r = 0; r < kTileRows; ++r) {
      int32_t x;
      std::memcpy(&x, rows + r * panel.depth + k, 4);
      const __m512i row = _mm512_set1_epi32(x);
#pragma GCC unroll 4
      for (size_t c = 0; c < 4; ++c) {
        sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], row, columns[c]);
      }
    }
  }
#pragma GCC unroll 6
  for (size_t r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < 4; ++c) _mm512_store_si512(tile->products[r] + 16 * c, sums[r][c]);
  }
}

VECINO_AVX512 inline __m512 Scores(const int32_t* products, const Panel& panel, size_t column,
                                   __m512 row_scale) {
  const __m512 scale = _mm512_mul_ps(_mm512_loadu_ps(panel.scales + column), row_scale);
  const __m512 product = _mm512_cvtepi32_ps(_mm512_load_si512(products + column));
  return _mm512_sub_ps(_mm512_mul_ps(product, scale), _mm512_loadu_ps(panel.offsets + column));
}

VECINO_AVX512 void BestAvx512(const GemmRows& rows, const Panel& panel, BestColumns* best) {
  Tile tile;
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (size_t t = 0; t < rows.n; t += kTileRows) {
    MultiplyAvx512(rows.codes + t * panel.depth, panel, &tile);
    for (size_t r = 0; r < kTileRows; ++r) {
      const __m512 row_scale = _mm512_set1_ps(rows.scales[t + r]);
      __m512 score = _mm512_load_ps(best[t + r].score);
      __m512i column = _mm512_load_si512(best[t + r].column);
      for (size_t c = 0; c < kTileColumns; c += 16) {
        const __m512 s = Scores(tile.products[r], panel, c, row_scale);
        const __mmask16 better = _mm512_cmp_ps_mask(s, score, _CMP_GT_OQ);
        score = _mm512_mask_mov_ps(score, better, s);
        column = _mm512_mask_add_epi32(column, better, lanes,
                                       _mm512_set1_epi32(static_cast<int>(panel.first + c)));
      }
      _mm512_store_ps(best[t + r].score, score);
      _mm512_store_si512(best[t + r].column, column);
    }
  }
}

VECINO_AVX512 size_t AboveAvx512(const GemmRows& rows, const float* row_offsets, const Panel& panel,
                                 const float* thresholds, GemmHit* hits) {
  Tile tile;
  size_t found = 0;
  for (size_t r = 0; r < rows.n; ++r) {
    if (r % kTileRows == 0) MultiplyAvx512(rows.codes + r * panel.depth, panel, &tile);
    const int32_t* products = tile.products[r % kTileRows];
    const __m512 row_scale = _mm512_set1_ps(rows.scales[r]);
    const __m512 row_offset = _mm512_set1_ps(row_offsets[r]);
    for (size_t c = 0; c < kTileColumns; c += 16) {
      const __m512 s = _mm512_sub_ps(Scores(products, panel, c, row_scale), row_offset);
      uint32_t above = _mm512_cmp_ps_mask(s, _mm512_loadu_ps(thresholds + c), _CMP_GT_OQ);
      if (above == 0) continue;
      alignas(64) float scores[16];
      _mm512_store_ps(scores, s);
      for (; above != 0; above &= above - 1) {
        const auto lane = static_cast<uint32_t>(std::countr_zero(above));
        hits[found++] = {static_cast<uint32_t>(r), static_cast<uint32_t>(panel.first + c) + lane,
                         scores[lane]};
      }
    }
  }
  return found;
}

#endif  // __x86_64__

}  // namespace

RoundedRow RoundRow(const float* row, const float* centre, size_t d, float* scratch,
                    uint8_t* codes) {
  constexpr float kMinLargest = 1e-30f;  // below it 127 / largest nears overflow; taken for zeros
  constexpr float kShift = 12582912;  // 1.5 · 2^23: adding it leaves the integer in the low bits
  Float4 largest = {}, norm = {};
  for (size_t i = 0; i < d; i += 4) {
    const size_t rest = d - i;
    Float4 x = rest >= 4 ? Load(row + i) : LoadPart(row + i, rest);
    if (centre != nullptr) x -= rest >= 4 ? Load(centre + i) : LoadPart(centre + i, rest);
    Store(x, scratch + i);
    norm += x * x;
    largest = Max(Max(x, -x), largest);
  }
  RoundedRow rounded;
  rounded.norm = (norm[0] + norm[1]) + (norm[2] + norm[3]);
  const float most = std::max(std::max(largest[0], largest[1]), std::max(largest[2], largest[3]));
  const size_t depth = GemmDepth(d);
  if (!(most >= kMinLargest) || most > std::numeric_limits<float>::max()) {
    std::fill_n(codes, depth, uint8_t{128});
    return rounded;
  }
  rounded.scale = most / 127;
  const float inverse = 127 / most;
  const int32_t shift = std::bit_cast<int32_t>(kShift) - 128;
  const auto code = [&](size_t i) {
    return std::bit_cast<Int4>(Load(scratch + i) * inverse + kShift) - shift;
  };
  size_t i = 0;
  for (; i + 16 <= depth; i += 16) {
    const Int4 four[4] = {code(i), code(i + 4), code(i + 8), code(i + 12)};
    StoreBytes(four, codes + i);
  }
  for (; i < depth; i += 4) {
    const Int4 one = code(i);
    for (size_t j = 0; j < 4; ++j) codes[i + j] = static_cast<uint8_t>(one[j]);
  }
  return rounded;
}

GemmRowBuffer::GemmRowBuffer(size_t n, size_t d)
    : d_(d),
      depth_(GemmDepth(d)),
      codes_((n + kTileRows - 1) / kTileRows * kTileRows * depth_, 128),
      scales_(codes_.size() / depth_, 0),
      norms_(scales_.size(), 0) {}

void GemmRowBuffer::Set(size_t i, const float* row, const float* centre) {
  thread_local std::vector<float> scratch;
  if (scratch.size() < depth_) scratch.resize(depth_);
  const RoundedRow rounded = RoundRow(row, centre, d_, scratch.data(), &codes_[i * depth_]);
  scales_[i] = rounded.scale;
  norms_[i] = rounded.norm;
}

GemmRows GemmRowBuffer::Rows(size_t first, size_t n) const {
  return {codes_.data() + first * depth_, scales_.data() + first,
          (n + kTileRows - 1) / kTileRows * kTileRows};
}

size_t GemmBlockRows(size_t d) {
  constexpr size_t kBytes = 128 << 10, kMostTiles = 32;
  return std::clamp<size_t>(kBytes / GemmDepth(d) / kTileRows, 1, kMostTiles) * kTileRows;
}

GemmColumns::GemmColumns(size_t count, size_t d)
    : count_(count),
      depth_(GemmDepth(d)),
      lines_(panels() * depth_),
      bias_(panels() * kTileColumns, 0),
      scales_(panels() * kTileColumns, 0),
      offsets_(panels() * kTileColumns, std::numeric_limits<float>::infinity()) {}

void GemmColumns::Set(size_t column, const uint8_t* codes, float scale, float offset) {
  int8_t* to = lines_[column / kTileColumns * depth_].bytes + 4 * (column % kTileColumns);
  int32_t sum = 0;
  for (size_t k = 0; k < depth_; k += 4, to += 4 * kTileColumns) {
    for (size_t j = 0; j < 4; ++j) {
      to[j] = static_cast<int8_t>(codes[k + j] - 128);
      sum += to[j];
    }
  }
  bias_[column] = -128 * sum;
  scales_[column] = scale;
  offsets_[column] = offset;
}

void BestColumns::Reset() {
  std::fill_n(score, 16, -std::numeric_limits<float>::infinity());
  std::fill_n(column, 16, 0u);
}

uint32_t BestColumns::Take(float* score_of_it) const {
  size_t best = 0;
  for (size_t i = 1; i < 16; ++i) {
    if (score[i] > score[best] || (score[i] == score[best] && column[i] < column[best])) best = i;
  }
  *score_of_it = score[best];
  return column[best];
}

void FindBest(const GemmRows& rows, const GemmColumns& columns, size_t panel, BestColumns* best,
              CpuLevel level) {
  const Panel p(columns, panel);
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return BestAvx512(rows, p, best);
  if (level == CpuLevel::kAvx2) return BestAvx2(rows, p, best);
#endif
  (void)level;
  BestPortable(rows, p, best);
}

size_t FindAbove(const GemmRows& rows, const float* row_offsets, const GemmColumns& columns,
                 size_t panel, const float* thresholds, GemmHit* hits, CpuLevel level) {
  const Panel p(columns, panel);
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return AboveAvx512(rows, row_offsets, p, thresholds, hits);
  if (level == CpuLevel::kAvx2) return AboveAvx2(rows, row_offsets, p, thresholds, hits);
#endif
  (void)level;
  return AbovePortable(rows, row_offsets, p, thresholds, hits);
}

}  // namespace vecino::index
