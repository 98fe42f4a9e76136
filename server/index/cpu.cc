#include "server/index/cpu.h"

namespace vecino::index {
namespace {

std::vector<CpuLevel> Detect() {
  std::vector<CpuLevel> levels = {CpuLevel::kPortable};
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) levels.insert(levels.begin(), CpuLevel::kAvx2);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni")) {
    levels.insert(levels.begin(), CpuLevel::kAvx512);
  }
#endif
  return levels;
}

}  // namespace

std::string_view CpuLevelName(CpuLevel level) {
  switch (level) {
    case CpuLevel::kAvx512:
      return "avx512";
    case CpuLevel::kAvx2:
      return "avx2";
    case CpuLevel::kPortable:
      break;
  }
  return "portable";
}

const std::vector<CpuLevel>& SupportedCpuLevels() {
  static const auto* const levels = new std::vector<CpuLevel>(Detect());
  return *levels;
}

}  // namespace vecino::index
