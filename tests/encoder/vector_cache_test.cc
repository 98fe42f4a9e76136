#include "encoder/vector_cache.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace vecino::encoder {
namespace {

VectorCache::Entry Of(float x, size_t dimension = 10) {
  return {std::vector<float>(dimension, x), 3, true};
}

TEST(VectorCacheTest, GivesBackWhatWasAdded) {
  VectorCache cache(1 << 20);
  EXPECT_FALSE(cache.Find(0, "a").has_value());
  cache.Add(0, "a", Of(1));
  cache.Add(1, "a", Of(2));
  cache.Add(0, "", Of(3));
  ASSERT_TRUE(cache.Find(0, "a").has_value());
  EXPECT_EQ(cache.Find(0, "a")->vector, std::vector<float>(10, 1));
  EXPECT_EQ(cache.Find(0, "a")->token_count, 3);
  EXPECT_TRUE(cache.Find(0, "a")->truncated);
  EXPECT_EQ(cache.Find(1, "a")->vector[0], 2);
  EXPECT_EQ(cache.Find(0, "")->vector[0], 3);
  EXPECT_FALSE(cache.Find(1, "").has_value());
  EXPECT_EQ(cache.hits(), 6);
  EXPECT_EQ(cache.misses(), 2);
  // Model 1 and text "1:a" is not model 11 and ":a", nor the like.
  cache.Add(1, "1:a", Of(4));
  EXPECT_FALSE(cache.Find(11, ":a").has_value());
  EXPECT_FALSE(cache.Find(11, "a").has_value());
}

TEST(VectorCacheTest, WhatWasUsedLongestAgoMakesRoom) {
  constexpr size_t kCapacity = 20'000;
  VectorCache cache(kCapacity);
  for (int i = 0; i < 1000; ++i) {
    cache.Add(0, std::to_string(i), Of(static_cast<float>(i)));
    EXPECT_TRUE(cache.Find(0, "0").has_value()) << i;  // used all the time
    EXPECT_TRUE(cache.Find(0, std::to_string(i)).has_value()) << i;
    EXPECT_LE(cache.bytes(), kCapacity);
  }
  EXPECT_GT(cache.bytes(), kCapacity / 2);
  EXPECT_FALSE(cache.Find(0, "1").has_value());
  EXPECT_TRUE(cache.Find(0, "990").has_value());
  // Too large to be worth it.
  cache.Add(0, "large", Of(1, kCapacity / 4));
  EXPECT_FALSE(cache.Find(0, "large").has_value());
  EXPECT_TRUE(cache.Find(0, "0").has_value());
}

TEST(VectorCacheTest, NoBytesKeepNothing) {
  VectorCache cache(0);
  cache.Add(0, "a", Of(1));
  EXPECT_FALSE(cache.Find(0, "a").has_value());
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(VectorCacheTest, ThreadsMayUseIt) {
  VectorCache cache(10'000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const int number = i * 7 % 100;
        const auto found = cache.Find(0, std::to_string(number));
        if (found.has_value()) {
          EXPECT_EQ(found->vector[0], static_cast<float>(number));
        } else {
          cache.Add(0, std::to_string(number), Of(static_cast<float>(number)));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.hits() + cache.misses(), 8000);
}

}  // namespace
}  // namespace vecino::encoder
