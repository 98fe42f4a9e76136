#include "server/index/tail.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "server/index/distance.h"
#include "tests/server/index/vectors.h"

namespace vecino::index {
namespace {

TEST(Tail, FindsRowsByLabelAcrossChunks) {
  Tail tail(Metric::kL2, 3, 1000);
  std::mt19937 rng(3);
  std::vector<std::vector<float>> rows;
  for (uint64_t i = 0; i < 1000; ++i) {
    rows.push_back(RandomVector(rng, 3));
    EXPECT_FALSE(tail.full());
    tail.Append(i * 2 + 1, rows.back().data());
  }
  EXPECT_TRUE(tail.full());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(tail.FindSlot(static_cast<uint64_t>(i) * 2 + 1), i);
    ASSERT_EQ(tail.FindSlot(static_cast<uint64_t>(i) * 2), -1);
    ASSERT_EQ(tail.vector(i)[2], rows[i][2]);
  }
  EXPECT_EQ(tail.FindSlot(5000), -1);
  EXPECT_EQ(tail.bytes(), 1024 * (3 * 4 + 8));
}

TEST(Tail, TakesMemoryAsRowsArrive) {
  Tail tail(Metric::kL2, 100, 1 << 20);
  EXPECT_EQ(tail.bytes(), 0);
  tail.Append(1, std::vector<float>(100).data());
  // Floats, label; 8-bit row, its scale, error, length and squared length.
  EXPECT_EQ(tail.bytes(), 256 * (100 * 4 + 8 + 128 + 4 * 4));
}

TEST(Tail, SearchLeavesOutTheDead) {
  Tail tail(Metric::kInnerProduct, 1, 300);
  for (uint64_t i = 1; i <= 300; ++i) {
    const float x = static_cast<float>(i);
    tail.Append(i, &x);
  }
  EXPECT_TRUE(tail.Kill(299));
  EXPECT_FALSE(tail.Kill(299));
  EXPECT_TRUE(tail.Kill(297));
  EXPECT_EQ(tail.dead(), 2);
  TopK top(Metric::kInnerProduct, 3);
  const float query = 2;
  tail.Search(&query, nullptr, &top);
  const std::vector<Hit> hits = top.Take();
  ASSERT_EQ(hits.size(), 3u);
  EXPECT_EQ(hits[0].label, 299u);
  EXPECT_EQ(hits[0].score, 598.0f);
  EXPECT_EQ(hits[1].label, 297u);
  EXPECT_EQ(hits[2].label, 296u);
}

class FixedBits final : public RowFilter {
 public:
  explicit FixedBits(const SlotBits& bits) : bits_(bits) {}
  SlotBits OfSegment(const Segment&) const override { return {}; }
  SlotBits OfTail(const Tail&) const override { return bits_; }

 private:
  const SlotBits bits_;
};

TEST(Tail, HitsAreThoseOfTheFloats) {
  std::mt19937 rng(5);
  for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    for (const int d : {31, 32, 100, 384}) {
      Tail tail(metric, d, 700);
      std::vector<uint64_t> allowed(8);
      for (uint64_t& word : allowed) word = rng();
      const SlotBits filters[] = {{}, {allowed.data(), 500}};
      for (const int rows : {100, 129, 256, 700}) {
        while (tail.size() < rows) {
          std::vector<float> row = RandomVector(rng, static_cast<size_t>(d));
          if (tail.size() % 50 == 7) row.assign(tail.vector(3), tail.vector(3) + d);  // a duplicate
          tail.Append(static_cast<uint64_t>(tail.size()) * 2 + 1, row.data());
          if (rng() % 4 == 0) tail.Kill(static_cast<int>(rng() % tail.size()));
        }
        for (const SlotBits& filter : filters) {
          for (const int k : {1, 10, 200, 1000}) {
            const std::vector<float> query = RandomVector(rng, static_cast<size_t>(d));
            TopK expected(metric, k), got(metric, k);
            for (int slot = 0; slot < rows; ++slot) {
              float score;
              Score(metric, query.data(), tail.vector(slot), static_cast<size_t>(d), 1, &score);
              const bool passes = filter.words == nullptr ||
                                  (slot < filter.slots && (allowed[slot / 64] >> (slot % 64) & 1));
              if (passes && !tail.tombstones().IsDead(slot)) expected.Push(tail.label(slot), score);
            }
            const FixedBits fixed(filter);
            tail.Search(query.data(), filter.words == nullptr ? nullptr : &fixed, &got);
            const std::vector<Hit> a = expected.Take(), b = got.Take();
            ASSERT_EQ(a.size(), b.size());
            for (size_t i = 0; i < a.size(); ++i) {
              ASSERT_EQ(a[i].label, b[i].label) << d << " " << rows << " " << k;
              ASSERT_EQ(a[i].score, b[i].score);
            }
          }
        }
      }
    }
  }
}

// Rows are found, right scores and all, by searches that run while they are written.
TEST(Tail, SearchWhileRowsAreWritten) {
  const size_t d = 48;
  const int n = 2000;
  std::mt19937 rng(6);
  const std::vector<float> rows = RandomVector(rng, n * d);
  Tail tail(Metric::kL2, d, n);
  std::atomic<bool> wrong{false};
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&, reader] {
      std::mt19937 mine(static_cast<unsigned>(reader));
      for (int seen = 0; seen < n && !wrong;) {
        seen = tail.size();
        if (seen == 0) continue;
        const size_t slot = mine() % static_cast<size_t>(seen);
        TopK top(Metric::kL2, 2);
        tail.Search(&rows[slot * d], nullptr, &top);
        const std::vector<Hit> hits = top.Take();
        if (hits.empty() || hits[0].label != slot + 1 || hits[0].score != 0) wrong = true;
      }
    });
  }
  for (size_t slot = 0; slot < n; ++slot) tail.Append(slot + 1, &rows[slot * d]);
  for (std::thread& reader : readers) reader.join();
  EXPECT_FALSE(wrong);
}

TEST(Tail, LinkKeepsTheNextOneAlive) {
  auto first = std::make_unique<Tail>(Metric::kL2, 1, 1);
  auto second = std::make_shared<Tail>(Metric::kL2, 1, 1);
  std::weak_ptr<Tail> watch = second;
  EXPECT_EQ(first->next(), nullptr);
  first->Link(second);
  EXPECT_EQ(first->next(), second.get());
  second.reset();
  EXPECT_FALSE(watch.expired());
  first.reset();
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace vecino::index
