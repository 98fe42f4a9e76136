#include "server/index/bits.h"

#include <bit>

#include "server/index/simd.h"

namespace vecino::index {
namespace {

#if defined(__x86_64__)
VECINO_AVX2 int64_t CountFast(const uint64_t* words, size_t count) {
  int64_t a = 0, b = 0, c = 0, d = 0;  // side by side, so that none waits for the last
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    a += _mm_popcnt_u64(words[i]);
    b += _mm_popcnt_u64(words[i + 1]);
    c += _mm_popcnt_u64(words[i + 2]);
    d += _mm_popcnt_u64(words[i + 3]);
  }
  for (; i < count; ++i) a += _mm_popcnt_u64(words[i]);
  return a + b + c + d;
}
#endif

}  // namespace

int64_t CountBits(const uint64_t* words, size_t count, CpuLevel level) {
#if defined(__x86_64__)
  if (level != CpuLevel::kPortable) return CountFast(words, count);
#endif
  (void)level;
  int64_t bits = 0;
  for (size_t i = 0; i < count; ++i) bits += std::popcount(words[i]);
  return bits;
}

}  // namespace vecino::index
