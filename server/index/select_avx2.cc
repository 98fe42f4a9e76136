#include <algorithm>
#include <bit>

#include "server/index/select_steps.h"
#include "server/index/simd.h"

#if defined(__x86_64__)

namespace vecino::index {
namespace {

VECINO_AVX2 inline __m256i Load(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

VECINO_AVX2 KeyRange MakeKeysAvx2(const float* scores, size_t n, int32_t flip, int32_t* keys) {
  const __m256i flips = _mm256_set1_epi32(flip);
  const __m256i but_sign = _mm256_set1_epi32(std::numeric_limits<int32_t>::max());
  __m256i lowest = but_sign, highest = _mm256_set1_epi32(kKeyPadding);
  const size_t whole = n / kKeyStep * kKeyStep;
  for (size_t i = 0; i < whole; i += 8) {
    const __m256i bits =
        _mm256_castps_si256(_mm256_add_ps(_mm256_loadu_ps(scores + i), _mm256_setzero_ps()));
    const __m256i turned = _mm256_and_si256(_mm256_srai_epi32(bits, 31), but_sign);
    const __m256i key = _mm256_xor_si256(_mm256_xor_si256(bits, turned), flips);
    lowest = _mm256_min_epi32(lowest, key);
    highest = _mm256_max_epi32(highest, key);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(keys + i), key);
  }
  alignas(32) int32_t lows[8], highs[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lows), lowest);
  _mm256_store_si256(reinterpret_cast<__m256i*>(highs), highest);
  KeyRange range = select_portable::MakeKeys(scores + whole, n - whole, flip, keys + whole);
  for (int i = 0; i < 8; ++i) {
    range.lowest = std::min(range.lowest, lows[i]);
    range.highest = std::max(range.highest, highs[i]);
  }
  return range;
}

VECINO_AVX2 inline size_t SumLanes(__m256i v) {
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), v);
  size_t sum = 0;
  for (uint32_t lane : lanes) sum += lane;
  return sum;
}

VECINO_AVX2 size_t KeysAtLeastAvx2(const int32_t* keys, size_t n, int32_t key) {
  const __m256i limit = _mm256_set1_epi32(key);
  __m256i below_a = _mm256_setzero_si256(), below_b = below_a;  // counted down: a match is −1
  size_t padded = 0;
  for (; padded < n; padded += kKeyStep) {
    below_a = _mm256_add_epi32(below_a, _mm256_cmpgt_epi32(limit, Load(keys + padded)));
    below_b = _mm256_add_epi32(below_b, _mm256_cmpgt_epi32(limit, Load(keys + padded + 8)));
  }
  return padded -
         SumLanes(_mm256_sub_epi32(_mm256_setzero_si256(), _mm256_add_epi32(below_a, below_b)));
}

VECINO_AVX2 void TakeKeysAvx2(int32_t* keys, size_t n, SelectCut<int32_t> cut) {
  const __m256i limit = _mm256_set1_epi32(cut.above);
  size_t taken = 0;
  for (size_t i = 0; i < n; i += 8) {
    const __m256i key = Load(keys + i);
    auto take = static_cast<uint32_t>(
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(key, limit))));
    if (cut.ties > 0) {
      auto ties = static_cast<uint32_t>(
          _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(key, limit))));
      for (; ties != 0 && cut.ties > 0; ties &= ties - 1, --cut.ties) take |= ties & (0 - ties);
    }
    // Never past i + 7, whose keys are read already.
    for (; take != 0; take &= take - 1) {
      keys[taken++] = static_cast<int32_t>(i) + std::countr_zero(take);
    }
  }
}

VECINO_AVX2 size_t SumsAtLeastAvx2(const PqCandidate* candidates, size_t n, uint32_t sum) {
  // Signed comparison of numbers less 2^31; slots are compared as well and left out of the count.
  const __m256i bias = _mm256_set1_epi32(std::numeric_limits<int32_t>::min());
  const __m256i limit = _mm256_xor_si256(_mm256_set1_epi32(static_cast<int>(sum)), bias);
  __m256i below = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    below = _mm256_sub_epi32(
        below, _mm256_cmpgt_epi32(limit, _mm256_xor_si256(Load(candidates + i), bias)));
  }
  const size_t low = SumLanes(_mm256_and_si256(below, _mm256_set1_epi64x(0xffffffff)));
  return i - low + select_portable::SumsAtLeast(candidates + i, n - i, sum);
}

}  // namespace

const SelectSteps kAvx2SelectSteps = {MakeKeysAvx2,    KeysAtLeastAvx2,
                                      TakeKeysAvx2,    select_portable::SumRange,
                                      SumsAtLeastAvx2, select_portable::TakeSums};

}  // namespace vecino::index

#endif  // __x86_64__
