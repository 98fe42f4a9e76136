#include "server/index/distance.h"

#include <faiss/utils/distances.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vecino::index {
namespace {

void FaissInnerProduct(const float* query, const float* rows, size_t d, size_t n, float* scores) {
  faiss::fvec_inner_products_ny(scores, query, rows, d, n);
}

void FaissL2(const float* query, const float* rows, size_t d, size_t n, float* scores) {
  faiss::fvec_L2sqr_ny(scores, query, rows, d, n);
}

#if defined(__x86_64__)

// Four accumulators hide the latency of the fused multiply-add. The functions are compiled for
// instructions the build's baseline lacks, so nothing may be inlined into them from outside but
// intrinsics, and they run only after SupportedKernels has asked the CPU.

#define VECINO_AVX2 __attribute__((target("avx2,fma")))
#define VECINO_AVX512 __attribute__((target("avx512f")))

VECINO_AVX2 inline float Sum(__m256 v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

template <bool kL2>
VECINO_AVX2 inline __m256 Step(__m256 sum, const float* x, const float* y) {
  __m256 a = _mm256_loadu_ps(x), b = _mm256_loadu_ps(y);
  if constexpr (kL2) a = b = _mm256_sub_ps(a, b);
  return _mm256_fmadd_ps(a, b, sum);
}

template <bool kL2>
VECINO_AVX2 void Avx2(const float* query, const float* rows, size_t d, size_t n, float* scores) {
  for (size_t i = 0; i < n; ++i, rows += d) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t j = 0;
    for (; j + 32 <= d; j += 32) {
      s0 = Step<kL2>(s0, query + j, rows + j);
      s1 = Step<kL2>(s1, query + j + 8, rows + j + 8);
      s2 = Step<kL2>(s2, query + j + 16, rows + j + 16);
      s3 = Step<kL2>(s3, query + j + 24, rows + j + 24);
    }
    for (; j + 8 <= d; j += 8) s0 = Step<kL2>(s0, query + j, rows + j);
    float sum = Sum(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    for (; j < d; ++j) {
      const float x = kL2 ? query[j] - rows[j] : query[j];
      sum += x * (kL2 ? x : rows[j]);
    }
    scores[i] = sum;
  }
}

// By way of memory: the intrinsics that halve a register set off -Wmaybe-uninitialized in GCC 12.
VECINO_AVX512 inline float Sum(__m512 v) {
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, v);
  _mm256_store_ps(lanes, _mm256_add_ps(_mm256_load_ps(lanes), _mm256_load_ps(lanes + 8)));
  __m128 x = _mm_add_ps(_mm_load_ps(lanes), _mm_load_ps(lanes + 4));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

template <bool kL2>
VECINO_AVX512 inline __m512 Step(__m512 sum, __m512 a, __m512 b) {
  if constexpr (kL2) a = b = _mm512_sub_ps(a, b);
  return _mm512_fmadd_ps(a, b, sum);
}

template <bool kL2>
VECINO_AVX512 void Avx512(const float* query, const float* rows, size_t d, size_t n,
                          float* scores) {
  const auto rest = static_cast<__mmask16>((1u << (d % 16)) - 1);
  for (size_t i = 0; i < n; ++i, rows += d) {
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t j = 0;
    for (; j + 64 <= d; j += 64) {
      s0 = Step<kL2>(s0, _mm512_loadu_ps(query + j), _mm512_loadu_ps(rows + j));
      s1 = Step<kL2>(s1, _mm512_loadu_ps(query + j + 16), _mm512_loadu_ps(rows + j + 16));
      s2 = Step<kL2>(s2, _mm512_loadu_ps(query + j + 32), _mm512_loadu_ps(rows + j + 32));
      s3 = Step<kL2>(s3, _mm512_loadu_ps(query + j + 48), _mm512_loadu_ps(rows + j + 48));
    }
    for (; j + 16 <= d; j += 16) {
      s0 = Step<kL2>(s0, _mm512_loadu_ps(query + j), _mm512_loadu_ps(rows + j));
    }
    if (rest != 0) {
      s1 = Step<kL2>(s1, _mm512_maskz_loadu_ps(rest, query + j),
                     _mm512_maskz_loadu_ps(rest, rows + j));
    }
    scores[i] = Sum(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
  }
}

#undef VECINO_AVX2
#undef VECINO_AVX512

#endif  // __x86_64__

std::vector<Kernels> Detect() {
  std::vector<Kernels> kernels;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    kernels.push_back({"avx512", Avx512<false>, Avx512<true>});
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    kernels.push_back({"avx2", Avx2<false>, Avx2<true>});
  }
#endif
  kernels.push_back({"faiss", FaissInnerProduct, FaissL2});
  return kernels;
}

}  // namespace

const std::vector<Kernels>& SupportedKernels() {
  static const auto* const kernels = new std::vector<Kernels>(Detect());
  return *kernels;
}

void Score(Metric metric, const float* query, const float* rows, size_t d, size_t n,
           float* scores) {
  static const Kernels best = SupportedKernels().front();
  (metric == Metric::kL2 ? best.l2 : best.inner_product)(query, rows, d, n, scores);
}

}  // namespace vecino::index
