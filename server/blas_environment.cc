#include "server/blas_environment.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace vecino {
namespace {

// Holds the process id of the program that was started again, which exec keeps: so a copy of the
// environment that another process inherits does not stop that one.
constexpr char kGuard[] = "VECINO_RESTARTED_PID";

std::optional<std::string> GetEnv(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

}  // namespace

CpuFeatures DetectCpu() {
  CpuFeatures cpu;
#if defined(__x86_64__)
  __builtin_cpu_init();
  cpu.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
  cpu.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  cpu.amd = __builtin_cpu_is("amd");
#endif
  return cpu;
}

const char* BlasCoreType(const CpuFeatures& cpu) {
  if (cpu.avx512) return "SkylakeX";
  if (cpu.avx2) return cpu.amd ? "Zen" : "Haswell";
  return "";
}

std::vector<std::pair<std::string, std::string>> MissingBlasVariables(
    const CpuFeatures& cpu,
    const std::function<std::optional<std::string>(const std::string&)>& get) {
  std::vector<std::pair<std::string, std::string>> missing;
  const auto want = [&](const std::string& name, const std::string& value) {
    if (!value.empty() && !get(name).has_value()) missing.emplace_back(name, value);
  };
  want("OPENBLAS_CORETYPE", BlasCoreType(cpu));
  // Vecino runs queries, rows and batches in parallel; threads inside the libraries would fight
  // them.
  want("OPENBLAS_NUM_THREADS", "1");
  want("OMP_NUM_THREADS", "1");
  return missing;
}

std::string EnsureBlasEnvironment(char** argv) {
  const std::string pid = absl::StrCat(getpid());
  if (GetEnv(kGuard) == pid) {
    unsetenv(kGuard);
    return "";
  }
  const auto missing = MissingBlasVariables(DetectCpu(), GetEnv);
  if (missing.empty()) return "";
  for (const auto& [name, value] : missing) setenv(name.c_str(), value.c_str(), 1);
  setenv(kGuard, pid.c_str(), 1);
  // By its own path, so that the process keeps its name; a binary replaced on disk is still found
  // by the link.
  char path[PATH_MAX] = {};
  if (readlink("/proc/self/exe", path, sizeof(path) - 1) > 0) execv(path, argv);
  execv("/proc/self/exe", argv);
  const int error = errno;
  unsetenv(kGuard);
  return absl::StrCat("could not start again with OPENBLAS_CORETYPE set: ", std::strerror(error),
                      "; models and exact search may run at a fifth of their speed. Set it in the "
                      "environment of vecinod");
}

std::string DescribeCpu() {
  const CpuFeatures cpu = DetectCpu();
  // What the library says it uses is better than what it was told. The symbol is OpenBLAS' own, and
  // is absent when another BLAS is installed.
  using CoreName = char* (*)();
  const auto corename = reinterpret_cast<CoreName>(dlsym(RTLD_DEFAULT, "openblas_get_corename"));
  std::string kernels = "unknown";
  if (corename != nullptr) {
    kernels = corename();
  } else if (const auto wanted = GetEnv("OPENBLAS_CORETYPE"); wanted.has_value()) {
    kernels = absl::StrCat(*wanted, " (asked for)");
  }
  return absl::StrCat(cpu.avx512 ? "AVX-512" : (cpu.avx2 ? "AVX2" : "no AVX2"),
                      ", OpenBLAS kernels ", kernels,
                      ", OPENBLAS_NUM_THREADS=", GetEnv("OPENBLAS_NUM_THREADS").value_or("unset"),
                      ", OMP_NUM_THREADS=", GetEnv("OMP_NUM_THREADS").value_or("unset"));
}

}  // namespace vecino
