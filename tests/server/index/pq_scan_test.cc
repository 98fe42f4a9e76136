#include "server/index/pq_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace vecino::index {

bool operator==(const PqCandidate& a, const PqCandidate& b) {
  return a.sum == b.sum && a.slot == b.slot;
}
void PrintTo(const PqCandidate& c, std::ostream* out) {
  *out << "{sum " << c.sum << ", slot " << c.slot << "}";
}

namespace {

constexpr uint32_t kFirstSlot = 1'000'000;

// Random codes, packed, and tables; and what is to be found, the plain way.
class Lists {
 public:
  Lists(size_t m, size_t n_blocks, int lowest_entry, uint32_t seed)
      : m_(m),
        n_blocks_(n_blocks),
        codes_(n_blocks * kPqBlockRows * m),
        blocks_(n_blocks * PqBlockBytes(m)),
        tables_(PqTableBytes(m)),
        live_(n_blocks) {
    std::mt19937 rng(seed);
    for (uint8_t& code : codes_) code = static_cast<uint8_t>(rng() % 16);
    for (size_t i = 0; i < n_blocks * kPqBlockRows; ++i) {
      PqPack(&codes_[i * m], m, &blocks_[i / kPqBlockRows * PqBlockBytes(m)],
             static_cast<int>(i % kPqBlockRows));
    }
    std::uniform_int_distribution<int> entry(lowest_entry, 255);
    for (size_t i = 0; i < 16 * m; ++i) tables_[i] = static_cast<uint8_t>(entry(rng));
    for (uint16_t& live : live_) {
      live = static_cast<uint16_t>(rng() % 3 == 0 ? 0 : rng() % 2 == 0 ? 0xffff : rng());
    }
  }

  uint32_t Sum(size_t row) const {
    uint32_t sum = 0;
    for (size_t s = 0; s < m_; ++s) sum += tables_[16 * s + codes_[row * m_ + s]];
    return sum;
  }

  std::vector<PqCandidate> Expected(uint32_t threshold) const {
    std::vector<PqCandidate> found;
    for (size_t i = 0; i < n_blocks_ * kPqBlockRows; ++i) {
      if (Sum(i) > threshold && (live_[i / kPqBlockRows] >> i % kPqBlockRows & 1) != 0) {
        found.push_back({Sum(i), kFirstSlot + static_cast<uint32_t>(i)});
      }
    }
    return found;
  }

  std::vector<PqCandidate> Found(uint32_t threshold, CpuLevel level) const {
    const size_t room = kPqBlockRows * n_blocks_;
    constexpr PqCandidate kUntouched = {0xabcdef01, 0x12345678};
    std::vector<PqCandidate> out(room + 16, kUntouched);
    const size_t n = PqScan(blocks_.data(), n_blocks_, m_, tables_.data(), live_.data(), threshold,
                            kFirstSlot, out.data(), level);
    EXPECT_LE(n, room);
    EXPECT_EQ(std::count(out.begin() + static_cast<ptrdiff_t>(room), out.end(), kUntouched), 16)
        << "written beyond the room for all rows";
    out.resize(n);
    return out;
  }

  void LiveAll() { std::fill(live_.begin(), live_.end(), uint16_t{0xffff}); }
  const uint8_t* block(size_t i) const { return &blocks_[i * PqBlockBytes(m_)]; }
  const uint8_t* codes(size_t row) const { return &codes_[row * m_]; }

 private:
  size_t m_, n_blocks_;
  std::vector<uint8_t> codes_, blocks_, tables_;
  std::vector<uint16_t> live_;
};

TEST(PqScan, EveryLevelFindsWhatAPlainLoopFinds) {
  for (CpuLevel level : SupportedCpuLevels()) {
    for (size_t m : {1, 3, 4, 5, 8, 9, 31, 64, 96, 97, 192}) {
      for (size_t n_blocks : {0, 1, 2, 3, 8, 17}) {
        const Lists lists(m, n_blocks, 0, static_cast<uint32_t>(m * 100 + n_blocks));
        const auto mean = static_cast<uint32_t>(m * 128);
        for (uint32_t threshold : {0u, mean / 2, mean, mean + mean / 10, mean * 3}) {
          EXPECT_EQ(lists.Found(threshold, level), lists.Expected(threshold))
              << CpuLevelName(level) << " m=" << m << " blocks=" << n_blocks;
        }
      }
    }
  }
}

TEST(PqScan, ASumEqualToTheThresholdIsNotFound) {
  const Lists lists(20, 4, 0, 1);
  const uint32_t sum = lists.Expected(0).front().sum;
  for (CpuLevel level : SupportedCpuLevels()) {
    for (const PqCandidate& found : lists.Found(sum, level)) EXPECT_GT(found.sum, sum);
    EXPECT_EQ(lists.Found(sum - 1, level).front().sum, sum);
    EXPECT_TRUE(lists.Found(0xffffffff, level).empty());
  }
}

// All entries 255: partial sums in 16 bits would run over.
TEST(PqScan, TheLargestSumsAreRight) {
  for (size_t m : {512, 520, 4096, 65536}) {
    Lists lists(m, 1, 255, 2);
    lists.LiveAll();
    for (CpuLevel level : SupportedCpuLevels()) {
      const std::vector<PqCandidate> found = lists.Found(0, level);
      ASSERT_EQ(found.size(), 16u);
      for (const PqCandidate& candidate : found) EXPECT_EQ(candidate.sum, 255 * m);
    }
  }
}

TEST(PqPack, UnpackAndCopyGiveTheSameCodes) {
  for (size_t m : {1, 7, 8, 12, 96}) {
    const Lists lists(m, 2, 0, 3);
    std::vector<uint8_t> copy(PqBlockBytes(m)), codes(m);
    for (int row = 0; row < kPqBlockRows; ++row) {
      PqUnpack(lists.block(1), m, row, codes.data());
      EXPECT_TRUE(
          std::equal(codes.begin(), codes.end(), lists.codes(16 + static_cast<size_t>(row))));
      PqCopyRow(lists.block(1), row, m, copy.data(), 15 - row);
      PqUnpack(copy.data(), m, 15 - row, codes.data());
      EXPECT_TRUE(
          std::equal(codes.begin(), codes.end(), lists.codes(16 + static_cast<size_t>(row))));
    }
  }
}

// The bytes are a file format: byte 4 · row + j of a group holds codes j and 4 + j.
TEST(PqPack, PutsNibblesWhereTheLayoutSays) {
  std::vector<uint8_t> codes = {1, 2, 3, 4, 5, 6, 7, 8, 9}, block(PqBlockBytes(9));
  PqPack(codes.data(), 9, block.data(), 2);
  ASSERT_EQ(block.size(), 128u);
  EXPECT_EQ(block[8], 0x51);
  EXPECT_EQ(block[9], 0x62);
  EXPECT_EQ(block[10], 0x73);
  EXPECT_EQ(block[11], 0x84);
  EXPECT_EQ(block[64 + 8], 0x09);
  EXPECT_EQ(std::count(block.begin(), block.end(), 0), 123);
}

}  // namespace
}  // namespace vecino::index
