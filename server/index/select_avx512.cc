#include "server/index/select_steps.h"
#include "server/index/simd.h"

#if defined(__x86_64__)

namespace vecino::index {
namespace {

VECINO_AVX512 inline size_t Count(uint32_t mask) {
  return static_cast<size_t>(_mm_popcnt_u32(mask));
}

VECINO_AVX512 KeyRange MakeKeysAvx512(const float* scores, size_t n, int32_t flip, int32_t* keys) {
  const __m512i flips = _mm512_set1_epi32(flip);
  const __m512i but_sign = _mm512_set1_epi32(std::numeric_limits<int32_t>::max());
  const __m512i padding = _mm512_set1_epi32(kKeyPadding);
  __m512i lowest = but_sign, highest = padding;
  for (size_t i = 0; i < n; i += kKeyStep) {
    const auto used = static_cast<__mmask16>(n - i < kKeyStep ? (1u << (n - i)) - 1 : 0xffffu);
    const __m512i bits = _mm512_castps_si512(
        _mm512_add_ps(_mm512_maskz_loadu_ps(used, scores + i), _mm512_setzero_ps()));
    const __m512i turned = _mm512_and_si512(_mm512_maskz_srai_epi32(used, bits, 31), but_sign);
    const __m512i key = _mm512_mask_xor_epi32(padding, used, _mm512_xor_si512(bits, turned), flips);
    lowest = _mm512_mask_min_epi32(lowest, used, lowest, key);
    highest = _mm512_max_epi32(highest, key);
    _mm512_storeu_si512(keys + i, key);
  }
  return {_mm512_reduce_min_epi32(lowest), _mm512_reduce_max_epi32(highest)};
}

VECINO_AVX512 size_t KeysAtLeastAvx512(const int32_t* keys, size_t n, int32_t key) {
  const __m512i limit = _mm512_set1_epi32(key);
  size_t count = 0;
  for (size_t i = 0; i < n; i += kKeyStep) {
    count += Count(_mm512_cmpge_epi32_mask(_mm512_loadu_si512(keys + i), limit));
  }
  return count;
}

// The lowest `most` bits that are set.
inline uint32_t LowestBits(uint32_t bits, size_t most) {
  uint32_t taken = 0;
  for (; bits != 0 && most > 0; bits &= bits - 1, --most) taken |= bits & (0 - bits);
  return taken;
}

VECINO_AVX512 void TakeKeysAvx512(int32_t* keys, size_t n, SelectCut<int32_t> cut) {
  const __m512i limit = _mm512_set1_epi32(cut.above);
  const __m512i sixteen = _mm512_set1_epi32(16);
  __m512i indexes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  size_t taken = 0;
  for (size_t i = 0; i < n; i += kKeyStep, indexes = _mm512_add_epi32(indexes, sixteen)) {
    const __m512i key = _mm512_loadu_si512(keys + i);
    uint32_t take = _mm512_cmpgt_epi32_mask(key, limit);
    if (cut.ties > 0) {
      const uint32_t ties = LowestBits(_mm512_cmpeq_epi32_mask(key, limit), cut.ties);
      cut.ties -= Count(ties);
      take |= ties;
    }
    // Whole registers are written, never past i + 15, whose keys are read already.
    _mm512_storeu_si512(keys + taken,
                        _mm512_maskz_compress_epi32(static_cast<__mmask16>(take), indexes));
    taken += Count(take);
  }
}

constexpr __mmask16 kSums = 0x5555;  // where the sums of 8 candidates stand

VECINO_AVX512 inline __mmask16 SumsUsed(size_t left) {
  return static_cast<__mmask16>(left < 8 ? kSums & ((1u << 2 * left) - 1) : kSums);
}

VECINO_AVX512 void SumRangeAvx512(const PqCandidate* candidates, size_t n, uint32_t* lowest,
                                  uint32_t* highest) {
  __m512i low = _mm512_set1_epi32(-1), high = _mm512_setzero_si512();
  for (size_t i = 0; i < n; i += 8) {
    const __mmask16 used = SumsUsed(n - i);
    const __m512i sums = _mm512_maskz_loadu_epi32(used, candidates + i);
    low = _mm512_mask_min_epu32(low, used, low, sums);
    high = _mm512_max_epu32(high, sums);
  }
  *lowest = _mm512_reduce_min_epu32(low);
  *highest = _mm512_reduce_max_epu32(high);
}

VECINO_AVX512 size_t SumsAtLeastAvx512(const PqCandidate* candidates, size_t n, uint32_t sum) {
  const __m512i limit = _mm512_set1_epi32(static_cast<int>(sum));
  size_t count = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    count += Count(_mm512_mask_cmpge_epu32_mask(kSums, _mm512_loadu_si512(candidates + i), limit));
  }
  if (i == n) return count;
  const __mmask16 used = SumsUsed(n - i);
  return count + Count(_mm512_mask_cmpge_epu32_mask(
                     used, _mm512_maskz_loadu_epi32(used, candidates + i), limit));
}

VECINO_AVX512 void TakeSumsAvx512(PqCandidate* candidates, size_t n, SelectCut<uint32_t> cut) {
  const __m512i limit = _mm512_set1_epi32(static_cast<int>(cut.above));
  const __m512i sum = _mm512_set1_epi64(0xffffffff);
  size_t taken = 0;
  for (size_t i = 0; i < n; i += 8) {
    const auto used = static_cast<__mmask8>(n - i < 8 ? (1u << (n - i)) - 1 : 0xffu);
    const __m512i at = _mm512_maskz_loadu_epi64(used, candidates + i);
    const __m512i sums = _mm512_and_si512(at, sum);
    uint32_t take = _mm512_mask_cmpgt_epu64_mask(used, sums, _mm512_and_si512(limit, sum));
    if (cut.ties > 0) {
      const uint32_t ties = LowestBits(
          _mm512_mask_cmpeq_epu64_mask(used, sums, _mm512_and_si512(limit, sum)), cut.ties);
      cut.ties -= Count(ties);
      take |= ties;
    }
    const size_t count = Count(take);
    _mm512_mask_storeu_epi64(candidates + taken, static_cast<__mmask8>((1u << count) - 1),
                             _mm512_maskz_compress_epi64(static_cast<__mmask8>(take), at));
    taken += count;
  }
}

}  // namespace

const SelectSteps kAvx512SelectSteps = {MakeKeysAvx512, KeysAtLeastAvx512, TakeKeysAvx512,
                                        SumRangeAvx512, SumsAtLeastAvx512, TakeSumsAvx512};

}  // namespace vecino::index

#endif  // __x86_64__
