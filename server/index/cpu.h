// Which of our kernels this CPU runs.
#pragma once

#include <string_view>
#include <vector>

namespace vecino::index {

// Ordered: a CPU that runs a level runs those below it.
enum class CpuLevel {
  kPortable,  // any CPU
  kAvx2,      // AVX2 and FMA
  kAvx512,    // AVX-512 F, BW, DQ, VL, VBMI and VNNI
};

std::string_view CpuLevelName(CpuLevel level);

// All levels that this CPU and this operating system run, the best first; never empty. Asked once.
const std::vector<CpuLevel>& SupportedCpuLevels();

inline CpuLevel BestCpuLevel() { return SupportedCpuLevels().front(); }

}  // namespace vecino::index
