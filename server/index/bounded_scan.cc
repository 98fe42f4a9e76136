#include "server/index/bounded_scan.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "server/index/distance.h"
#include "server/index/simd.h"

namespace vecino::index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kUnit = 0x1p-24;  // relative error of one float operation

constexpr size_t kPiece = 256;  // rows scored at once: a tail's chunk; a multiple of 64
// With fewer live rows in a piece, only these are scored.
constexpr int kSparse = 64;
// Up to here it pays to sort the open rows, so that fewer are scored.
constexpr size_t kSortable = 1024;

// Never below x, and above it by enough to make up for the few roundings of a margin's own sum.
float Up(double x) { return static_cast<float>(x * (1 + 0x1p-20)); }

BoundedScan::Margin MarginOf(Metric metric, double norm, double error, size_t d) {
  // A sum of d products is off by at most d · kUnit (and a little) of the sum of their magnitudes,
  // in whatever order it is added up: Higham, Accuracy and Stability, section 3.1. The 128 covers
  // the difference in L2, the 8-bit score's own roundings (see ScoreRange) and those of margins.
  const double sum = (1.01 * static_cast<double>(d) + 128) * kUnit;
  // What may be lost where floats underflow: d · 2^-149, and as much for each unit of an integer
  // product where the product of the scales does.
  constexpr double kUnderflow = 1e-36;
  BoundedScan::Margin margin;
  if (metric == Metric::kL2) {
    // |x|² + |q|² − 2·q·x; the sums are off by a share of (|x| + |q|)² at most, the squared length
    // of x as kept by another.
    margin.error = Up(2 * (norm + error));
    margin.square = Up(2 * sum);
    margin.norm = Up(2 * error + 4 * sum * norm);
    margin.constant = Up(2 * sum * norm * norm + kUnderflow);
    margin.max_norm = static_cast<float>(3e18 - norm);
  } else {
    margin.error = Up(norm + error);
    margin.norm = Up(error + sum * norm);
    margin.constant = Up(kUnderflow);
    margin.max_norm = static_cast<float>(std::min(1e37 / norm, 1e38));
  }
  return margin;
}

// Bit i of the result: the row may be needed. Not above 64 rows. sign: of `scores`, so that more is
// better.
using OpenFn = uint64_t (*)(const BoundedScan::Margin&, float sign, float threshold,
                            const float* scores, const float* errors, const float* norms, size_t n);

// Whatever is not a number stays open.
uint64_t OpenPortable(const BoundedScan::Margin& m, float sign, float threshold,
                      const float* scores, const float* errors, const float* norms, size_t n) {
  uint64_t bits = 0;
  for (size_t i = 0; i < n; ++i) {
    const float best = sign * scores[i] +
                       (m.error * errors[i] + (m.norm + m.square * norms[i]) * norms[i]) +
                       m.constant;
    const bool closed = best < threshold && norms[i] <= m.max_norm;
    bits |= uint64_t{!closed} << i;
  }
  return bits;
}

#if defined(__x86_64__)

VECINO_AVX2 uint64_t OpenAvx2(const BoundedScan::Margin& m, float sign, float threshold,
                              const float* scores, const float* errors, const float* norms,
                              size_t n) {
  uint64_t closed = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 norm = _mm256_loadu_ps(norms + i);
    __m256 best = _mm256_fmadd_ps(_mm256_set1_ps(m.square), norm, _mm256_set1_ps(m.norm));
    best = _mm256_fmadd_ps(best, norm, _mm256_set1_ps(m.constant));
    best = _mm256_fmadd_ps(_mm256_set1_ps(m.error), _mm256_loadu_ps(errors + i), best);
    best = _mm256_fmadd_ps(_mm256_set1_ps(sign), _mm256_loadu_ps(scores + i), best);
    const __m256 both = _mm256_and_ps(_mm256_cmp_ps(best, _mm256_set1_ps(threshold), _CMP_LT_OQ),
                                      _mm256_cmp_ps(norm, _mm256_set1_ps(m.max_norm), _CMP_LE_OQ));
    closed |= static_cast<uint64_t>(_mm256_movemask_ps(both)) << i;
  }
  uint64_t open = ~closed;
  if (n < 64) open &= (uint64_t{1} << i) - 1;
  if (i < n)
    open |= OpenPortable(m, sign, threshold, scores + i, errors + i, norms + i, n - i) << i;
  return open;
}

VECINO_AVX512 uint64_t OpenAvx512(const BoundedScan::Margin& m, float sign, float threshold,
                                  const float* scores, const float* errors, const float* norms,
                                  size_t n) {
  uint64_t open = 0;
  for (size_t i = 0; i < n; i += 16) {
    const auto used = static_cast<__mmask16>(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
    const __m512 norm = _mm512_maskz_loadu_ps(used, norms + i);
    __m512 best = _mm512_fmadd_ps(_mm512_set1_ps(m.square), norm, _mm512_set1_ps(m.norm));
    best = _mm512_fmadd_ps(best, norm, _mm512_set1_ps(m.constant));
    best = _mm512_fmadd_ps(_mm512_set1_ps(m.error), _mm512_maskz_loadu_ps(used, errors + i), best);
    best = _mm512_fmadd_ps(_mm512_set1_ps(sign), _mm512_maskz_loadu_ps(used, scores + i), best);
    const __mmask16 closed = _mm512_cmp_ps_mask(best, _mm512_set1_ps(threshold), _CMP_LT_OQ) &
                             _mm512_cmp_ps_mask(norm, _mm512_set1_ps(m.max_norm), _CMP_LE_OQ);
    open |= static_cast<uint64_t>(used & ~closed & 0xffffu) << i;
  }
  return open;
}

#endif  // __x86_64__

OpenFn OpenOf(CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return OpenAvx512;
  if (level == CpuLevel::kAvx2) return OpenAvx2;
#endif
  (void)level;
  return OpenPortable;
}

// The bits of rows first to first + n − 1 (n ≤ 64) of those that begin at bit 0 of `live`.
uint64_t LiveBits(const uint64_t* live, size_t first, size_t n) {
  const uint64_t all = n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
  return live == nullptr ? all : live[first / 64] & all;
}

}  // namespace

float RowNorm(const float* row, size_t d, float* squared) {
  double sums[4] = {};  // four chains of additions
  for (size_t i = 0; i < d; ++i) sums[i % 4] += static_cast<double>(row[i]) * row[i];
  const double sum = sums[0] + sums[1] + sums[2] + sums[3];
  if (squared != nullptr) *squared = static_cast<float>(sum);
  return sum == 0 ? 0 : std::nextafter(static_cast<float>(std::sqrt(sum) * (1 + 1e-9)), kInfinity);
}

void BoundedScan::Start(const float* query, size_t d, const TopK& top, CpuLevel level) {
  metric_ = top.metric();
  level_ = level;
  query_ = query;
  d_ = d;
  k_ = top.k();
  rounded_.Assign(query, d);
  margin_ = MarginOf(metric_, RowNorm(query, d, nullptr), rounded_.error(), d);
  worst_.clear();
  threshold_ = -kInfinity;
  if (top.full()) threshold_ = metric_ == Metric::kL2 ? -top.worst() : top.worst();
  open_.clear();
  close_at_ = 4 * kSortable;
}

void BoundedScan::Scan(const Int8Rows& rows, const float* errors, const float* row_norms,
                       size_t first, size_t n, const uint64_t* live, uint64_t base) {
  const OpenFn open_rows = OpenOf(level_);
  const float sign = metric_ == Metric::kL2 ? -1.0f : 1.0f;
  std::array<float, kPiece> scores;
  for (size_t at = 0; at < n; at += kPiece) {
    const size_t count = std::min(kPiece, n - at);
    int lives = 0;
    for (size_t i = 0; i < count; i += 64) {
      lives += std::popcount(LiveBits(live, at + i, std::min<size_t>(64, count - i)));
    }
    if (lives == 0) continue;
    if (lives < kSparse && lives < static_cast<int>(count)) {
      std::array<uint32_t, kSparse> slots;
      size_t size = 0;
      for (size_t i = 0; i < count; i += 64) {
        uint64_t bits = LiveBits(live, at + i, std::min<size_t>(64, count - i));
        for (; bits != 0; bits &= bits - 1) {
          slots[size++] = static_cast<uint32_t>(first + at + i + std::countr_zero(bits));
        }
      }
      ScoreSlots(rows, rounded_, slots.data(), size, scores.data(), level_);
      for (size_t i = 0; i < size; ++i) {
        Consider(base + slots[i], sign * scores[i], errors[slots[i]], row_norms[slots[i]]);
      }
      continue;
    }
    ScoreRange(rows, rounded_, first + at, count, scores.data(), level_);
    for (size_t i = 0; i < count; i += 64) {
      const size_t word = std::min<size_t>(64, count - i), row = first + at + i;
      uint64_t bits = LiveBits(live, at + i, word);
      // Until something is known, every row is needed.
      if (threshold_ != -kInfinity) {
        bits &=
            open_rows(margin_, sign, threshold_, &scores[i], errors + row, row_norms + row, word);
      }
      for (; bits != 0; bits &= bits - 1) {
        const auto j = static_cast<size_t>(std::countr_zero(bits));
        Consider(base + row + j, sign * scores[i + j], errors[row + j], row_norms[row + j]);
      }
    }
  }
}

void BoundedScan::Consider(uint64_t number, float score, float error, float norm) {
  const float margin =
      margin_.error * error + (margin_.norm + margin_.square * norm) * norm + margin_.constant;
  if (!(norm <= margin_.max_norm)) {
    open_.push_back({number, kInfinity});
    return;
  }
  if (score + margin < threshold_) return;
  open_.push_back({number, score + margin});
  if (open_.size() >= close_at_) Close();

  const float worst = score - margin;
  if (!(worst > threshold_)) return;
  if (worst_.size() == k_) {
    std::pop_heap(worst_.begin(), worst_.end(), std::greater<>());
    worst_.back() = worst;
  } else {
    worst_.push_back(worst);
  }
  std::push_heap(worst_.begin(), worst_.end(), std::greater<>());
  if (worst_.size() == k_) threshold_ = worst_.front();
}

// Forgets the rows that have turned out not to be needed.
void BoundedScan::Close() {
  std::erase_if(open_, [this](const OpenRow& row) { return row.best < threshold_; });
  close_at_ = std::max(4 * kSortable, 2 * open_.size());
}

void BoundedScan::Finish(absl::FunctionRef<const float*(uint64_t)> row,
                         absl::FunctionRef<uint64_t(uint64_t)> label, TopK* top) {
  Close();
  const float sign = metric_ == Metric::kL2 ? -1.0f : 1.0f;
  if (open_.size() > k_ && open_.size() <= kSortable) {
    // A best score is a number here: of a row without a margin it is +∞, and max_norm keeps the
    // others finite.
    std::sort(open_.begin(), open_.end(),
              [](const OpenRow& a, const OpenRow& b) { return a.best > b.best; });
  }
  scored_exactly_ = 0;
  constexpr size_t kAhead = 3;  // rows asked for before they are needed
  constexpr size_t kLine = 64 / sizeof(float);
  for (size_t i = 0; i < open_.size(); ++i) {
    if (i + kAhead < open_.size() && top->MayTake(sign * open_[i + kAhead].best)) {
      const float* next = row(open_[i + kAhead].number);
      for (size_t j = 0; j < std::min<size_t>(d_, 32 * kLine); j += kLine) {
        __builtin_prefetch(next + j);
      }
    }
    if (!top->MayTake(sign * open_[i].best)) continue;
    float score;
    Score(metric_, query_, row(open_[i].number), d_, 1, &score);
    top->Push(label(open_[i].number), score);
    ++scored_exactly_;
  }
  open_.clear();
}

}  // namespace vecino::index
