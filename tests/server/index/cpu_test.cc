#include "server/index/cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace vecino::index {
namespace {

TEST(Cpu, LevelsRunFromTheBestDownToThePortableOneWithoutGaps) {
  const std::vector<CpuLevel>& levels = SupportedCpuLevels();
  ASSERT_FALSE(levels.empty());
  EXPECT_EQ(levels.back(), CpuLevel::kPortable);
  EXPECT_TRUE(std::is_sorted(levels.begin(), levels.end(), std::greater<>()));
  EXPECT_EQ(levels.size(), static_cast<size_t>(levels.front()) + 1);
  EXPECT_EQ(BestCpuLevel(), levels.front());
}

TEST(Cpu, NamesTellLevelsApart) {
  EXPECT_EQ(CpuLevelName(CpuLevel::kAvx512), "avx512");
  EXPECT_EQ(CpuLevelName(CpuLevel::kAvx2), "avx2");
  EXPECT_EQ(CpuLevelName(CpuLevel::kPortable), "portable");
}

}  // namespace
}  // namespace vecino::index
