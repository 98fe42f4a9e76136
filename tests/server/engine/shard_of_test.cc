#include "server/engine/shard_of.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace vecino::engine {
namespace {

// These values are on people's disks. A change of any means that documents are not found again.
TEST(ShardOf, NeverChanges) {
  EXPECT_EQ(ShardOf("a", 64), 32);
  EXPECT_EQ(ShardOf("gnuchess", 64), 59);
  EXPECT_EQ(ShardOf("spinne \xf0\x9f\x95\xb7", 64), 63);
  EXPECT_EQ(ShardOf(std::string(512, 'x'), 64), 18);
  EXPECT_EQ(ShardOf("gnuchess", 3), 2);
}

TEST(ShardOf, SpreadsAlikeIdsEvenly) {
  for (const int shards : {1, 2, 3, 7, 64}) {
    for (const int step : {1, 2, 64}) {
      std::vector<int> count(shards);
      const int n = 64000;
      for (int i = 0; i < n; ++i) ++count[ShardOf(std::to_string(i * step), shards)];
      for (const int c : count) {
        EXPECT_GT(c, n / shards * 0.85) << shards << " shards, step " << step;
        EXPECT_LT(c, n / shards * 1.15) << shards << " shards, step " << step;
      }
    }
  }
}

}  // namespace
}  // namespace vecino::engine
