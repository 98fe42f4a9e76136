#include "server/blas_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>

namespace vecino {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

auto Reader(std::map<std::string, std::string> environment) {
  return [=](const std::string& name) -> std::optional<std::string> {
    const auto at = environment.find(name);
    if (at == environment.end()) return std::nullopt;
    return at->second;
  };
}

TEST(BlasEnvironmentTest, KernelsByProcessor) {
  EXPECT_STREQ(BlasCoreType({.avx512 = true, .avx2 = true}), "SkylakeX");
  EXPECT_STREQ(BlasCoreType({.avx512 = true, .avx2 = true, .amd = true}), "SkylakeX");
  EXPECT_STREQ(BlasCoreType({.avx2 = true}), "Haswell");
  EXPECT_STREQ(BlasCoreType({.avx2 = true, .amd = true}), "Zen");
  EXPECT_STREQ(BlasCoreType({}), "");
}

TEST(BlasEnvironmentTest, SetsWhatIsMissingAndRespectsTheUser) {
  const CpuFeatures cpu = {.avx512 = true, .avx2 = true};
  EXPECT_THAT(MissingBlasVariables(cpu, Reader({})),
              ElementsAre(Pair("OPENBLAS_CORETYPE", "SkylakeX"), Pair("OPENBLAS_NUM_THREADS", "1"),
                          Pair("OMP_NUM_THREADS", "1")));
  EXPECT_THAT(MissingBlasVariables(
                  cpu, Reader({{"OPENBLAS_CORETYPE", "Haswell"}, {"OMP_NUM_THREADS", "4"}})),
              ElementsAre(Pair("OPENBLAS_NUM_THREADS", "1")));
  EXPECT_THAT(
      MissingBlasVariables({}, Reader({{"OPENBLAS_NUM_THREADS", "1"}, {"OMP_NUM_THREADS", "1"}})),
      IsEmpty());
}

// EnsureBlasEnvironment starts the program again, this test with it; the second time nothing is
// missing, and it prints what it sees.
[[noreturn]] void StartAgain() {
  unsetenv("OPENBLAS_CORETYPE");
  unsetenv("OPENBLAS_NUM_THREADS");
  unsetenv("OMP_NUM_THREADS");
  char program[] = "self";
  char filter[] = "--gtest_filter=BlasEnvironmentTest.DISABLED_Report";
  char disabled[] = "--gtest_also_run_disabled_tests";
  char* argv[] = {program, filter, disabled, nullptr};
  EnsureBlasEnvironment(argv);  // does not return
  _exit(9);
}

TEST(BlasEnvironmentTest, StartsAgainOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(StartAgain(), testing::ExitedWithCode(42), "OMP_NUM_THREADS=1");
}

// Only run by StartsAgainOnce, as the program that was started again.
TEST(BlasEnvironmentTest, DISABLED_Report) {
  char* argv[] = {nullptr};
  const std::string problem = EnsureBlasEnvironment(argv);  // must return: nothing is missing
  std::fprintf(stderr, "%s%s\n", problem.c_str(), DescribeCpu().c_str());
  _exit(problem.empty() && std::getenv("VECINO_RESTARTED_PID") == nullptr ? 42 : 7);
}

TEST(BlasEnvironmentTest, Describes) { EXPECT_THAT(DescribeCpu(), HasSubstr("OpenBLAS kernels")); }

}  // namespace
}  // namespace vecino
