#include "server/index/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace vecino::index {
namespace {

using Extend = uint32_t (*)(uint32_t, const void*, size_t);

std::vector<Extend> All() {
  std::vector<Extend> all = {ExtendCrc32c, ExtendCrc32cByTable};
  if (HasCrc32cInstruction()) all.push_back(ExtendCrc32cByInstruction);
  return all;
}

TEST(Crc32c, KnownValues) {  // RFC 3720, B.4, and the check value of the catalogues
  std::string up(32, '\0'), down(32, '\0');
  for (int i = 0; i < 32; ++i) {
    up[i] = static_cast<char>(i);
    down[i] = static_cast<char>(31 - i);
  }
  for (const Extend extend : All()) {
    EXPECT_EQ(extend(0, "", 0), 0u);
    EXPECT_EQ(extend(0, "123456789", 9), 0xe3069283u);
    EXPECT_EQ(extend(0, std::string(32, '\0').data(), 32), 0x8a9136aau);
    EXPECT_EQ(extend(0, std::string(32, '\xff').data(), 32), 0x62a8ab43u);
    EXPECT_EQ(extend(0, up.data(), 32), 0x46dd794eu);
    EXPECT_EQ(extend(0, down.data(), 32), 0x113fdb5cu);
  }
}

TEST(Crc32c, AnyLengthAnyPlaceAnyPieces) {
  std::mt19937 rng(1);
  std::string bytes(20000, '\0');
  for (char& c : bytes) c = static_cast<char>(rng());
  for (int i = 0; i < 500; ++i) {
    const size_t first = rng() % 100;
    const size_t n = rng() % (i < 400 ? 7000 : bytes.size() - first);
    const size_t cut = n == 0 ? 0 : rng() % n;
    const uint32_t expected = ExtendCrc32cByTable(0, &bytes[first], n);
    for (const Extend extend : All()) {
      ASSERT_EQ(extend(0, &bytes[first], n), expected) << n;
      ASSERT_EQ(extend(extend(0, &bytes[first], cut), &bytes[first + cut], n - cut), expected) << n;
    }
  }
}

}  // namespace
}  // namespace vecino::index
