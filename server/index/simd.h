// The intrinsics, and how functions that use them are marked. Include from .cc files only.
#pragma once

#if defined(__x86_64__)

// GCC 12 warns wrongly about the deliberately uninitialised operands inside of these (GCC bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif

// Functions compiled for a CpuLevel that the build's baseline lacks. They run only when the CPU has
// been asked (see cpu.h), and call each other or code of the baseline, never the other way but at
// dispatch.
//
// GCC 12 miscompiles loops over mask registers when it instruments them for ThreadSanitizer
// (SelectBest gave wrong indexes, at -O1, in those builds only), so kernels are not instrumented.
// They read and write nothing but what they are given.
#if defined(__SANITIZE_THREAD__)
#define VECINO_NO_TSAN , no_sanitize_thread
#else
#define VECINO_NO_TSAN
#endif
#define VECINO_AVX2 __attribute__((target("avx2,fma,popcnt") VECINO_NO_TSAN))
#define VECINO_AVX512    \
  __attribute__((target( \
      "avx2,fma,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni") VECINO_NO_TSAN))

#endif  // __x86_64__
