#include "server/engine/filter_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/index/index_fixture.h"

namespace vecino::engine {
namespace {

using index::GoOn;
using index::IvfSegment;
using index::PassingCodes;

constexpr size_t kD = 16, kRows = 8'000;

std::shared_ptr<const IvfSegment> MakeSegment() {
  const std::vector<float> rows = index::ClusteredRows(kRows, kD, /*unit=*/true);
  const auto made = index::IndexOf(index::Metric::kInnerProduct, rows, kD);
  auto frozen = made->FreezeForDrain(1);
  auto generation =
      index::TrainGeneration(*frozen, index::Metric::kInnerProduct, true, kD, {.id = 1}, GoOn);
  EXPECT_TRUE(generation.ok()) << generation.status();
  auto segment = IvfSegment::Build(*frozen, *generation, "", GoOn);
  EXPECT_TRUE(segment.ok()) << segment.status();
  return *segment;
}

class FilterCacheTest : public testing::Test {
 protected:
  // The first so many.
  static std::vector<uint64_t> Bits(size_t passing) {
    std::vector<uint64_t> words((kRows + 63) / 64);
    for (size_t slot = 0; slot < passing; ++slot) words[slot / 64] |= uint64_t{1} << (slot % 64);
    return words;
  }
  std::shared_ptr<const PassingCodes> Codes(size_t passing) const {
    return PassingCodes::Make(*segment_, Bits(passing).data());
  }

  const std::shared_ptr<const IvfSegment> segment_ = MakeSegment();
};

TEST_F(FilterCacheTest, CodesAreForShareAndSizeThatAreWorthIt) {
  const size_t room = size_t{1} << 20;
  EXPECT_EQ(PassingRows(*segment_, Bits(100), room).passing(), 100);
  EXPECT_TRUE(PassingRows(*segment_, Bits(100), room).codable());
  EXPECT_TRUE(PassingRows(*segment_, Bits(kRows * 59 / 100), room).codable());
  EXPECT_FALSE(PassingRows(*segment_, Bits(kRows * 61 / 100), room).codable());
  EXPECT_FALSE(PassingRows(*segment_, Bits(0), room).codable());
  const size_t bytes = Codes(100)->bytes();
  EXPECT_TRUE(PassingRows(*segment_, Bits(100), bytes).codable());
  EXPECT_FALSE(PassingRows(*segment_, Bits(100), bytes - 1).codable());
}

TEST_F(FilterCacheTest, CodesAreDueEverLessOften) {
  const PassingRows rows(*segment_, Bits(100), size_t{1} << 20);
  int wait = PassingRows::kOften;
  for (int made = 0; made < 12; ++made) {
    for (int use = 1; use < wait; ++use) {
      EXPECT_FALSE(rows.IsDue());
      ASSERT_FALSE(rows.Use());
    }
    EXPECT_TRUE(rows.IsDue());
    ASSERT_TRUE(rows.Use());
    wait = std::min(2 * wait, PassingRows::kMostOften);
  }
  const PassingRows never(*segment_, Bits(0), size_t{1} << 20);
  for (int use = 0; use < 3 * PassingRows::kOften; ++use) {
    EXPECT_FALSE(never.IsDue());
    EXPECT_FALSE(never.Use());
  }
}

// However many codes come, what is known of filters stays, and the codes used last.
TEST_F(FilterCacheTest, CodesTakeNoRoomFromTheRest) {
  const auto codes = Codes(500);
  FilterCache cache(1 << 20, 4 * (codes->bytes() + 1024));
  EXPECT_EQ(cache.most_code_bytes(), codes->bytes() + 1024);
  const auto put = [&](const std::string& filter) {
    cache.Put(1, filter,
              std::make_shared<const PassingRows>(*segment_, Bits(500), size_t{1} << 20));
    cache.PutCodes(1, filter, codes);
  };
  for (int i = 0; i < 100; ++i) {
    put(std::to_string(i));
    EXPECT_NE(cache.FindCodes(1, "0"), nullptr);
  }
  int kept = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string filter = std::to_string(i);
    EXPECT_NE(cache.Peek(1, filter), nullptr) << i;
    EXPECT_NE(cache.Find(1, filter), nullptr) << i;
    kept += cache.FindCodes(1, filter) != nullptr;
  }
  EXPECT_EQ(kept, 4);
  EXPECT_EQ(cache.FindCodes(2, "99"), nullptr);
  EXPECT_EQ(cache.Peek(2, "99"), nullptr);
  EXPECT_LE(cache.bytes(), (size_t{1} << 20) + 4 * (codes->bytes() + 1024));
  // The first stays.
  const auto first = cache.Find(1, "5");
  put("5");
  EXPECT_EQ(cache.Find(1, "5"), first);
}

TEST_F(FilterCacheTest, WithoutRoomForCodesNoneAreWanted) {
  FilterCache cache(1 << 20);
  EXPECT_EQ(cache.most_code_bytes(), 0u);
  cache.PutCodes(1, "a", Codes(10));
  EXPECT_EQ(cache.FindCodes(1, "a"), nullptr);
}

}  // namespace
}  // namespace vecino::engine
