// Compiled with contraction of a · b + c, of which the kernels are full.
#include "encoder/bert_kernels.h"

namespace vecino::encoder {
namespace {

// Vectors are passed between functions of one level only, all of them in this file.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

#define VECINO_LEVEL portable
#define VECINO_TARGET
#define VECINO_LANES 4
#define VECINO_QUERIES 4
#include "encoder/bert_kernels.inc"
#undef VECINO_LEVEL
#undef VECINO_TARGET
#undef VECINO_LANES
#undef VECINO_QUERIES

#if defined(__x86_64__)

#define VECINO_LEVEL avx2
#define VECINO_TARGET __attribute__((target("avx2,fma")))
#define VECINO_LANES 8
#define VECINO_QUERIES 4
#include "encoder/bert_kernels.inc"
#undef VECINO_LEVEL
#undef VECINO_TARGET
#undef VECINO_LANES
#undef VECINO_QUERIES

#define VECINO_LEVEL avx512
#define VECINO_TARGET __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define VECINO_LANES 16
#define VECINO_QUERIES 8
#include "encoder/bert_kernels.inc"
#undef VECINO_LEVEL
#undef VECINO_TARGET
#undef VECINO_LANES
#undef VECINO_QUERIES

#endif  // __x86_64__

#pragma GCC diagnostic pop

#define VECINO_KERNELS(level, name)                                                       \
  {                                                                                       \
    name, level::AddBias, level::AddBiasInt8, level::Gelu, level::AddNorm, level::ToBf16, \
        level::RoundBf16, level::ToBytes, level::RoundBytes, level::Attention             \
  }

constexpr BertKernels kPortable = VECINO_KERNELS(portable, "portable");
#if defined(__x86_64__)
constexpr BertKernels kAvx2 = VECINO_KERNELS(avx2, "AVX2");
constexpr BertKernels kAvx512 = VECINO_KERNELS(avx512, "AVX-512");
#endif

}  // namespace

size_t AttentionScratch(size_t length, size_t head_size) {
  constexpr size_t kMostLanes = 16, kMostQueries = 8;
  const size_t padded = length + kMostLanes, size = head_size + kMostLanes;
  return head_size * padded + length * size + kMostQueries * (padded + head_size + size);
}

const std::vector<const BertKernels*>& SupportedBertKernels() {
  static const auto* const kernels = [] {
    auto* found = new std::vector<const BertKernels*>();
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      found->push_back(&kAvx512);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found->push_back(&kAvx2);
#endif
    found->push_back(&kPortable);
    return found;
  }();
  return *kernels;
}

}  // namespace vecino::encoder
