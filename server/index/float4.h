// Four floats that the compiler maps to what any CPU has, for code that runs without asking the
// CPU.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace vecino::index {

typedef float Float4 __attribute__((vector_size(16)));
typedef int32_t Int4 __attribute__((vector_size(16)));

inline Float4 Load(const float* x) {
  Float4 v;
  std::memcpy(&v, x, sizeof(v));
  return v;
}

inline void Store(Float4 v, float* x) { std::memcpy(x, &v, sizeof(v)); }

// x[i] for i < n, zeros beyond.
inline Float4 LoadPart(const float* x, size_t n) {
  float v[4] = {};
  std::copy_n(x, n, v);
  return Load(v);
}

// GCC 12 does not see by itself that these are one instruction, or three.
#if defined(__SSE2__)

inline Float4 Min(Float4 a, Float4 b) { return _mm_min_ps(a, b); }
inline Float4 Max(Float4 a, Float4 b) { return _mm_max_ps(a, b); }

// Numbers 0 to 255 as bytes; others give any byte.
inline void StoreBytes(const Int4 (&v)[4], uint8_t* bytes) {
  const auto low = _mm_packs_epi32((__m128i)v[0], (__m128i)v[1]);
  const auto high = _mm_packs_epi32((__m128i)v[2], (__m128i)v[3]);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), _mm_packus_epi16(low, high));
}

#else

inline Float4 Min(Float4 a, Float4 b) { return a < b ? a : b; }
inline Float4 Max(Float4 a, Float4 b) { return a > b ? a : b; }

inline void StoreBytes(const Int4 (&v)[4], uint8_t* bytes) {
  for (size_t i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>(v[i / 4][i % 4]);
}

#endif

}  // namespace vecino::index
