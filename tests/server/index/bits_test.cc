#include "server/index/bits.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace vecino::index {
namespace {

TEST(CountBitsTest, EveryLevelCountsEachBit) {
  std::mt19937_64 random(1);
  std::vector<uint64_t> words(67);
  for (uint64_t& word : words) word = random() & random();
  words[3] = ~uint64_t{0};
  for (const CpuLevel level : SupportedCpuLevels()) {
    int64_t bits = 0;
    for (size_t count = 0; count < words.size(); ++count) {
      EXPECT_EQ(CountBits(words.data(), count, level), bits) << CpuLevelName(level);
      for (int bit = 0; bit < 64; ++bit) bits += static_cast<int64_t>(words[count] >> bit & 1);
    }
  }
}

}  // namespace
}  // namespace vecino::index
