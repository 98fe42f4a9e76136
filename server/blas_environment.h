// Settings that OpenBLAS, OpenMP and the model's run time read once, when they are loaded.
//
// Debian's OpenBLAS 0.3.21 does not know recent Intel processors and falls back to its slowest
// kernels for them, at a fifth of the speed, unless OPENBLAS_CORETYPE names better ones. The
// libraries are loaded before main() runs, so the only way to set their environment is to start the
// program again.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vecino {

// What the choice of kernels depends on.
struct CpuFeatures {
  bool avx512 = false;  // F, CD, BW, DQ and VL, usable under this operating system
  bool avx2 = false;    // with FMA
  bool amd = false;
};

CpuFeatures DetectCpu();

// The value for OPENBLAS_CORETYPE: SkylakeX with AVX-512 (as fast as Cooperlake and SapphireRapids
// in our measurements, and present in every build), else Zen or Haswell with AVX2. Empty: OpenBLAS'
// own choice is good enough.
const char* BlasCoreType(const CpuFeatures& cpu);

// Variables that must be set before the libraries load and are not: names with values. One that the
// user has set is respected, whatever its value. `get` reads the environment.
std::vector<std::pair<std::string, std::string>> MissingBlasVariables(
    const CpuFeatures& cpu,
    const std::function<std::optional<std::string>(const std::string&)>& get);

// Sets what is missing and starts the program again with the same arguments; then it does not
// return. Returns when nothing is missing, when this process was started again already, or with a
// sentence saying why starting again failed (the server runs all the same, only slower).
// Call it first in main(), before any thread exists.
std::string EnsureBlasEnvironment(char** argv);

// One line for the log and for GetServerStatus, such as
// "AVX-512, OpenBLAS kernels SkylakeX, 1 BLAS thread".
std::string DescribeCpu();

}  // namespace vecino
