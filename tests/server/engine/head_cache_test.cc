#include "server/engine/head_cache.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace vecino::engine {
namespace {

storage::Document Doc(uint64_t sequence) {
  storage::Document document;
  document.id = "a document with the number " + std::to_string(sequence);
  document.sequence = sequence;
  document.create_time_us = static_cast<int64_t>(sequence) + 1;
  document.update_time_us = static_cast<int64_t>(sequence) + 2;
  return document;
}

TEST(HeadCache, GivesBackWhatWasPut) {
  HeadCache cache(1 << 20);
  cache.Put({1, 2, 3}, Doc(3));
  storage::Document found;
  ASSERT_TRUE(cache.Find({1, 2, 3}, &found));
  EXPECT_EQ(found.id, Doc(3).id);
  EXPECT_EQ(found.sequence, 3u);
  EXPECT_EQ(found.create_time_us, 4);
  EXPECT_EQ(found.update_time_us, 5);
  // Another collection, another shard, another version.
  EXPECT_FALSE(cache.Find({2, 2, 3}, &found));
  EXPECT_FALSE(cache.Find({1, 1, 3}, &found));
  EXPECT_FALSE(cache.Find({1, 2, 4}, &found));
}

TEST(HeadCache, StaysInItsBoundsAndKeepsWhatIsLookedUp) {
  constexpr size_t kBytes = 256 << 10;
  HeadCache cache(kBytes);
  storage::Document found;
  cache.Put({1, 0, 1}, Doc(1));
  for (uint64_t i = 2; i < 20'000; ++i) {
    cache.Put({1, 0, i}, Doc(i));
    ASSERT_LE(cache.bytes(), kBytes);
    ASSERT_TRUE(cache.Find({1, 0, 1}, &found)) << i;
  }
  int kept = 0;
  for (uint64_t i = 2; i < 20'000; ++i) kept += cache.Find({1, 0, i}, &found);
  EXPECT_GT(kept, 500);
  EXPECT_LT(kept, 2'000);
  EXPECT_FALSE(cache.Find({1, 0, 2}, &found));  // the oldest
}

TEST(HeadCache, ZeroKeepsNothing) {
  HeadCache cache(0);
  cache.Put({1, 0, 1}, Doc(1));
  storage::Document found;
  EXPECT_FALSE(cache.Find({1, 0, 1}, &found));
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(HeadCache, ManyThreads) {
  HeadCache cache(128 << 10);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, t] {
      storage::Document found;
      for (uint64_t i = 0; i < 5'000; ++i) {
        const uint64_t sequence = i * 7 % 3'000 + static_cast<uint64_t>(t);
        cache.Put({1, 0, sequence}, Doc(sequence));
        if (cache.Find({1, 0, sequence}, &found)) {
          EXPECT_EQ(found.id, Doc(sequence).id);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(cache.bytes(), size_t{128} << 10);
}

}  // namespace
}  // namespace vecino::engine
