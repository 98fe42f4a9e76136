#include "server/index/int8_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "server/index/simd.h"

namespace vecino::index {
namespace {

constexpr float kMinLargest = 1e-30f;  // below it 127 / max|x| nears overflow; taken for zeros

constexpr size_t kLanes = 8;  // sums and maxima side by side, so that none waits for the last

float Largest(const float* x, size_t d) {
  float lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    for (size_t k = 0; k < kLanes; ++k) lanes[k] = std::max(lanes[k], std::fabs(x[i + k]));
  }
  for (; i < d; ++i) lanes[0] = std::max(lanes[0], std::fabs(x[i]));
  return *std::max_element(lanes, lanes + kLanes);
}

// Writes bias + round(x[i] / scale), the latter in −127..127, for each i; returns the scale.
template <typename Code>
float Round(const float* x, size_t d, int32_t bias, Code* codes) {
  const float largest = Largest(x, d);
  if (largest < kMinLargest) {
    std::fill(codes, codes + d, static_cast<Code>(bias));
    return 0;
  }
  const float inverse = 127 / largest;
  for (size_t i = 0; i < d; ++i) {
    // Adding 1.5 · 2^23 leaves the nearest integer in the low bits.
    constexpr float kShift = 12582912;
    const int32_t code =
        std::bit_cast<int32_t>(x[i] * inverse + kShift) - std::bit_cast<int32_t>(kShift);
    codes[i] = static_cast<Code>(bias + code);
  }
  return largest / 127;
}

// Σ f(i)².
template <typename F>
double SumOfSquares(size_t d, F f) {
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    for (size_t k = 0; k < kLanes; ++k) lanes[k] += f(i + k) * f(i + k);
  }
  for (; i < d; ++i) lanes[0] += f(i) * f(i);
  return std::accumulate(lanes, lanes + kLanes, 0.0);
}

// The length of x − scale · (code − bias), never below the true value.
template <typename Code>
float ErrorBound(const float* x, size_t d, float scale, int32_t bias, const Code* codes) {
  const double error = std::sqrt(SumOfSquares(d, [=](size_t i) {
    return x[i] - static_cast<double>(scale) * (codes[i] - bias);  // the product is exact
  }));
  if (error == 0) return 0;
  // The factor makes up for the rounding of the sum, at most d · 2^-53.
  return std::nextafter(static_cast<float>(error * (1 + 1e-9)),
                        std::numeric_limits<float>::infinity());
}

// The same operations in the same order at every level, so that scores are equal to the bit; that
// 2 · product is exact makes a fused subtraction the same, too.
float ScoreOf(const Int8Rows& rows, const Int8Query& query, size_t slot, int32_t dot) {
  const float product = static_cast<float>(dot) * (rows.scales[slot] * query.scale());
  if (rows.metric == Metric::kInnerProduct) return product;
  return (rows.norms[slot] + query.squared_norm()) - 2 * product;
}

// Which rows are scored: `slots` or, when null, n in a row.
struct Work {
  const Int8Rows& rows;
  const Int8Query& query;
  const uint32_t* slots;
  size_t first, n;

  size_t slot(size_t i) const { return slots != nullptr ? slots[i] : first + i; }
  const uint8_t* row(size_t i) const { return rows.codes + slot(i) * Int8Stride(rows.d); }
};

void ScorePortable(const Work& work, float* scores) {
  const size_t stride = Int8Stride(work.rows.d);
  for (size_t i = 0; i < work.n; ++i) {
    const uint8_t* row = work.row(i);
    const int8_t* query = work.query.codes();
    int32_t dot = 0;
    for (size_t j = 0; j < stride; j += 64) {
      for (size_t k = j; k < j + 64; ++k) dot += (row[k] - 128) * query[k];
    }
    scores[i] = ScoreOf(work.rows, work.query, work.slot(i), dot);
  }
}

#if defined(__x86_64__)

// Rows at random places are asked for this many rows before they are needed.
constexpr size_t kAhead = 8;

inline void Prefetch(const Work& work, size_t i, size_t stride) {
  const size_t slot = work.slots[i];
  const uint8_t* row = work.rows.codes + slot * stride;
  for (size_t j = 0; j < stride; j += 64) __builtin_prefetch(row + j);
  __builtin_prefetch(work.rows.scales + slot);
  if (work.rows.norms != nullptr) __builtin_prefetch(work.rows.norms + slot);
}

// (u − 128) · q by way of |q| and the sign of q given to u − 128, because the sum of two products
// of 255 · 127 would saturate.
VECINO_AVX2 inline __m256i Step(__m256i sum, const uint8_t* row, __m256i query, __m256i magnitude) {
  const __m256i x = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)),
                                     _mm256_set1_epi8(-128));
  const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, query));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

VECINO_AVX2 void ScoreAvx2(const Work& work, float* scores) {
  const size_t stride = Int8Stride(work.rows.d);
  for (size_t i = 0; i < work.n; i += 4) {
    const size_t count = std::min<size_t>(4, work.n - i), last = i + count - 1;
    if (work.slots != nullptr) {
      const size_t end = std::min(work.n, i + kAhead + 4);
      for (size_t k = i == 0 ? 4 : i + kAhead; k < end; ++k) Prefetch(work, k, stride);
    }
    const uint8_t *a = work.row(i), *b = work.row(std::min(i + 1, last)),
                  *c = work.row(std::min(i + 2, last)), *d = work.row(last);
    __m256i sa = _mm256_setzero_si256(), sb = sa, sc = sa, sd = sa;
    for (size_t j = 0; j < stride; j += 32) {
      const __m256i q =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(work.query.codes() + j));
      const __m256i magnitude = _mm256_abs_epi8(q);
      sa = Step(sa, a + j, q, magnitude);
      sb = Step(sb, b + j, q, magnitude);
      sc = Step(sc, c + j, q, magnitude);
      sd = Step(sd, d + j, q, magnitude);
    }
    const __m256i halves = _mm256_hadd_epi32(_mm256_hadd_epi32(sa, sb), _mm256_hadd_epi32(sc, sd));
    alignas(16) int32_t dots[4];
    _mm_store_si128(
        reinterpret_cast<__m128i*>(dots),
        _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
    for (size_t k = 0; k < count; ++k) {
      scores[i + k] = ScoreOf(work.rows, work.query, work.slot(i + k), dots[k]);
    }
  }
}

// In each quarter the sums of a, b, c and d over that quarter.
VECINO_AVX512 inline __m512i Quarters(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// The sum of a's quarters, b's, c's and d's.
VECINO_AVX512 inline __m512i SumQuarters(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab =
      _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
  const __m512i cd =
      _mm512_add_epi32(_mm512_shuffle_i32x4(c, d, 0x88), _mm512_shuffle_i32x4(c, d, 0xdd));
  return _mm512_add_epi32(_mm512_shuffle_i32x4(ab, cd, 0x88), _mm512_shuffle_i32x4(ab, cd, 0xdd));
}

VECINO_AVX512 inline __m512i Step(__m512i sum, const uint8_t* row, __m512i query) {
  return _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(row), query);
}

// Eight rows share the loads of the query. kPrefetch: asks for `next` meanwhile, too.
template <bool kPrefetch>
VECINO_AVX512 inline void Eight(const uint8_t* const* rows, const uint8_t* const* next,
                                const int8_t* query, size_t stride, __m512i* first,
                                __m512i* second) {
  const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
  const uint8_t *r4 = rows[4], *r5 = rows[5], *r6 = rows[6], *r7 = rows[7];
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
  __m512i s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (size_t j = 0; j < stride; j += 64) {
    if constexpr (kPrefetch) {
      for (int i = 0; i < 8; ++i) __builtin_prefetch(next[i] + j);
    }
    const __m512i q = _mm512_loadu_si512(query + j);
    s0 = Step(s0, r0 + j, q);
    s1 = Step(s1, r1 + j, q);
    s2 = Step(s2, r2 + j, q);
    s3 = Step(s3, r3 + j, q);
    s4 = Step(s4, r4 + j, q);
    s5 = Step(s5, r5 + j, q);
    s6 = Step(s6, r6 + j, q);
    s7 = Step(s7, r7 + j, q);
  }
  *first = Quarters(s0, s1, s2, s3);
  *second = Quarters(s4, s5, s6, s7);
}

// values[slot] of the rows i to i + 15 of the work, as far as `used` says that they exist.
template <bool kSlots>
VECINO_AVX512 inline __m512 Values(const Work& work, const float* values, size_t i,
                                   __mmask16 used) {
  if constexpr (!kSlots) return _mm512_maskz_loadu_ps(used, values + work.first + i);
  alignas(64) float gathered[16];
  for (size_t k = 0; k < 16; ++k) gathered[k] = values[work.slots[std::min(i + k, work.n - 1)]];
  return _mm512_load_ps(gathered);
}

template <bool kSlots>
VECINO_AVX512 void ScoreAvx512(const Work& work, float* scores) {
  const size_t stride = Int8Stride(work.rows.d), n = work.n;
  const int8_t* query = work.query.codes();
  const __m512i bias = _mm512_set1_epi32(128 * work.query.sum());
  const __m512 query_scale = _mm512_set1_ps(work.query.scale());
  const __m512 query_norm = _mm512_set1_ps(work.query.squared_norm());
  const uint8_t* rows[24];  // of this step and, of the next, the first half
  for (size_t i = 0; i < n; i += 16) {
    // Beyond the end the last row stands in.
    for (size_t k = 0; k < 24; ++k) rows[k] = work.row(std::min(i + k, n - 1));
    __m512i a, b, c, d;
    if (kSlots) {
      for (size_t k = i + 16; k < std::min(i + 32, n); ++k) {
        __builtin_prefetch(work.rows.scales + work.slots[k]);
        if (work.rows.norms != nullptr) __builtin_prefetch(work.rows.norms + work.slots[k]);
      }
    }
    Eight<kSlots>(rows, rows + 8, query, stride, &a, &b);
    Eight<kSlots>(rows + 8, rows + 16, query, stride, &c, &d);
    const __m512i dots = _mm512_sub_epi32(SumQuarters(a, b, c, d), bias);
    const auto used = static_cast<__mmask16>(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
    const __m512 scale =
        _mm512_mul_ps(Values<kSlots>(work, work.rows.scales, i, used), query_scale);
    __m512 score = _mm512_mul_ps(_mm512_maskz_cvtepi32_ps(0xffff, dots), scale);
    if (work.rows.metric == Metric::kL2) {
      const __m512 norms =
          _mm512_add_ps(Values<kSlots>(work, work.rows.norms, i, used), query_norm);
      score = _mm512_sub_ps(norms, _mm512_add_ps(score, score));
    }
    _mm512_mask_storeu_ps(scores + i, used, score);
  }
}

#endif  // __x86_64__

void ScoreRows(const Work& work, float* scores, CpuLevel level) {
  if (work.n == 0) return;
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) {
    return work.slots != nullptr ? ScoreAvx512<true>(work, scores)
                                 : ScoreAvx512<false>(work, scores);
  }
  if (level == CpuLevel::kAvx2) return ScoreAvx2(work, scores);
#endif
  (void)level;
  ScorePortable(work, scores);
}

}  // namespace

float QuantizeRow(const float* row, size_t d, uint8_t* codes) {
  std::fill(codes + d, codes + Int8Stride(d), uint8_t{128});
  return Round(row, d, 128, codes);
}

float RowError(const float* row, size_t d, const uint8_t* codes, float scale) {
  return ErrorBound(row, d, scale, 128, codes);
}

void Int8Query::Assign(const float* query, size_t d) {
  codes_.assign(Int8Stride(d), 0);
  scale_ = Round(query, d, 0, codes_.data());
  sum_ = std::accumulate(codes_.begin(), codes_.end(), 0);
  norm_ = static_cast<float>(SumOfSquares(d, [=](size_t i) { return double{query[i]}; }));
  error_ = ErrorBound(query, d, scale_, 0, codes_.data());
}

void ScoreRange(const Int8Rows& rows, const Int8Query& query, size_t first, size_t n, float* scores,
                CpuLevel level) {
  ScoreRows({rows, query, nullptr, first, n}, scores, level);
}

void ScoreSlots(const Int8Rows& rows, const Int8Query& query, const uint32_t* slots, size_t n,
                float* scores, CpuLevel level) {
  if (n != 0) ScoreRows({rows, query, slots, 0, n}, scores, level);
}

}  // namespace vecino::index
