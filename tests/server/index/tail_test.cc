#include "server/index/tail.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(tail.bytes(), 256 * (100 * 4 + 8));
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
  tail.Search(&query, &top);
  const std::vector<Hit> hits = top.Take();
  ASSERT_EQ(hits.size(), 3u);
  EXPECT_EQ(hits[0].label, 299u);
  EXPECT_EQ(hits[0].score, 598.0f);
  EXPECT_EQ(hits[1].label, 297u);
  EXPECT_EQ(hits[2].label, 296u);
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
