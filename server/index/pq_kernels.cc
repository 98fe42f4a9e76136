// Compiled without contraction of a · b + c, so that every level rounds alike.
#include "server/index/pq_kernels.h"

#include <bit>

#include "server/index/float4.h"
#include "server/index/simd.h"

namespace vecino::index {
namespace {

constexpr size_t kCodewords = 16;

// Goes over `n` sub-vectors; the kernel advances with them or stays.
struct Work {
  const float* kernel;
  size_t kernel_step;  // kPqKernelFloats or 0
  size_t n;
  const float* x;
};

// Products with codewords c to c + 3.
Float4 Products4(const float* kernel, const float* x, size_t c) {
  const float* k = kernel + c;
  return (x[0] * Load(k) + x[1] * Load(k + 16)) + (x[2] * Load(k + 32) + x[3] * Load(k + 48));
}

void NearestPortable(const Work& work, uint8_t* codes) {
  const float* kernel = work.kernel;
  const float* x = work.x;
  for (size_t i = 0; i < work.n; ++i, x += 4, kernel += work.kernel_step) {
    Float4 score = Products4(kernel, x, 0) - Load(kernel + 64);
    Int4 code = {0, 1, 2, 3};
    for (int c = 4; c < static_cast<int>(kCodewords); c += 4) {
      const Float4 s = Products4(kernel, x, c) - Load(kernel + 64 + c);
      const Int4 better = s > score, these = Int4{0, 1, 2, 3} + c;
      score = better ? s : score;
      code = better ? these : code;
    }
    int best = 0;
    for (int lane = 1; lane < 4; ++lane) {
      const bool equal = score[lane] == score[best];
      if (score[lane] > score[best] || (equal && code[lane] < code[best])) best = lane;
    }
    codes[i] = static_cast<uint8_t>(code[best]);
  }
}

void ProductsPortable(const Work& work, float* products) {
  for (size_t i = 0; i < work.n; ++i) {
    for (size_t c = 0; c < kCodewords; c += 4) {
      Store(Products4(work.kernel + i * work.kernel_step, work.x + 4 * i, c),
            products + i * kCodewords + c);
    }
  }
}

#if defined(__x86_64__)

// Products with codewords c to c + 7.
VECINO_AVX2 inline __m256 Products8(const float* kernel, const float* x, size_t c) {
  const float* k = kernel + c;
  const __m256 a = _mm256_mul_ps(_mm256_set1_ps(x[0]), _mm256_loadu_ps(k));
  const __m256 b = _mm256_mul_ps(_mm256_set1_ps(x[1]), _mm256_loadu_ps(k + 16));
  const __m256 e = _mm256_mul_ps(_mm256_set1_ps(x[2]), _mm256_loadu_ps(k + 32));
  const __m256 f = _mm256_mul_ps(_mm256_set1_ps(x[3]), _mm256_loadu_ps(k + 48));
  return _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(e, f));
}

VECINO_AVX2 void NearestAvx2(const Work& work, uint8_t* codes) {
  const float* kernel = work.kernel;
  const float* x = work.x;
  for (size_t i = 0; i < work.n; ++i, x += 4, kernel += work.kernel_step) {
    const __m256 low = _mm256_sub_ps(Products8(kernel, x, 0), _mm256_loadu_ps(kernel + 64));
    const __m256 high = _mm256_sub_ps(Products8(kernel, x, 8), _mm256_loadu_ps(kernel + 72));
    __m256 most = _mm256_max_ps(low, high);
    most = _mm256_max_ps(most, _mm256_permute2f128_ps(most, most, 1));
    most = _mm256_max_ps(most, _mm256_permute_ps(most, 0x4e));
    most = _mm256_max_ps(most, _mm256_permute_ps(most, 0xb1));
    const int is_low = _mm256_movemask_ps(_mm256_cmp_ps(low, most, _CMP_EQ_OQ));
    const int is_high = _mm256_movemask_ps(_mm256_cmp_ps(high, most, _CMP_EQ_OQ));
    const auto is_most = static_cast<uint32_t>(is_low | (is_high << 8));
    // The bit beyond is for scores that are not numbers: code 0.
    codes[i] = static_cast<uint8_t>(std::countr_zero(is_most | (1u << kCodewords)) & 15);
  }
}

VECINO_AVX2 void ProductsAvx2(const Work& work, float* products) {
  for (size_t i = 0; i < work.n; ++i) {
    const float* kernel = work.kernel + i * work.kernel_step;
    _mm256_storeu_ps(products + i * kCodewords, Products8(kernel, work.x + 4 * i, 0));
    _mm256_storeu_ps(products + i * kCodewords + 8, Products8(kernel, work.x + 4 * i, 8));
  }
}

VECINO_AVX512 inline __m512 Products16(const float* k, const float* x) {
  const __m512 a = _mm512_mul_ps(_mm512_set1_ps(x[0]), _mm512_loadu_ps(k));
  const __m512 b = _mm512_mul_ps(_mm512_set1_ps(x[1]), _mm512_loadu_ps(k + 16));
  const __m512 e = _mm512_mul_ps(_mm512_set1_ps(x[2]), _mm512_loadu_ps(k + 32));
  const __m512 f = _mm512_mul_ps(_mm512_set1_ps(x[3]), _mm512_loadu_ps(k + 48));
  return _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(e, f));
}

VECINO_AVX512 void NearestAvx512(const Work& work, uint8_t* codes) {
  const float* kernel = work.kernel;
  const float* x = work.x;
  for (size_t i = 0; i < work.n; ++i, x += 4, kernel += work.kernel_step) {
    const __m512 scores = _mm512_sub_ps(Products16(kernel, x), _mm512_loadu_ps(kernel + 64));
    __m512 most = _mm512_max_ps(scores, _mm512_shuffle_f32x4(scores, scores, 0x4e));
    most = _mm512_max_ps(most, _mm512_shuffle_f32x4(most, most, 0xb1));
    most = _mm512_max_ps(most, _mm512_permute_ps(most, 0x4e));
    most = _mm512_max_ps(most, _mm512_permute_ps(most, 0xb1));
    const uint32_t is_most = _mm512_cmp_ps_mask(scores, most, _CMP_EQ_OQ);
    codes[i] = static_cast<uint8_t>(std::countr_zero(is_most | (1u << kCodewords)) & 15);
  }
}

VECINO_AVX512 void ProductsAvx512(const Work& work, float* products) {
  for (size_t i = 0; i < work.n; ++i) {
    _mm512_storeu_ps(products + i * kCodewords,
                     Products16(work.kernel + i * work.kernel_step, work.x + 4 * i));
  }
}

#endif  // __x86_64__

void Nearest(const Work& work, uint8_t* codes, CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return NearestAvx512(work, codes);
  if (level == CpuLevel::kAvx2) return NearestAvx2(work, codes);
#endif
  (void)level;
  NearestPortable(work, codes);
}

}  // namespace

void PqMakeKernel(const float* codewords, float* kernel) {
  for (size_t c = 0; c < kCodewords; ++c, codewords += 4) {
    float norm = 0;
    for (size_t j = 0; j < 4; ++j) {
      kernel[16 * j + c] = codewords[j];
      norm += codewords[j] * codewords[j];
    }
    kernel[64 + c] = norm / 2;
  }
}

void PqNearest(const float* kernels, size_t m, const float* x, uint8_t* codes, CpuLevel level) {
  Nearest({kernels, kPqKernelFloats, m, x}, codes, level);
}

void PqNearestOfOne(const float* kernel, size_t n, const float* x, uint8_t* codes, CpuLevel level) {
  Nearest({kernel, 0, n, x}, codes, level);
}

void PqProducts(const float* kernels, size_t m, const float* x, float* products, CpuLevel level) {
  const Work work = {kernels, kPqKernelFloats, m, x};
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return ProductsAvx512(work, products);
  if (level == CpuLevel::kAvx2) return ProductsAvx2(work, products);
#endif
  (void)level;
  ProductsPortable(work, products);
}

}  // namespace vecino::index
