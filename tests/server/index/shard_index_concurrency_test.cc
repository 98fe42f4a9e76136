// Readers beside a writer and a builder: no search may miss a row that stands, see a row that was
// gone before it began, or see neither version of a row that is being replaced.
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <mutex>
#include <random>
#include <thread>

#include "server/index/flat_segment.h"
#include "server/index/shard_index.h"

namespace vecino::index {
namespace {

constexpr int kKeys = 40;
constexpr int kWrites = 20000;

// A row is (key, version). With the query (1, 0) its score names its key.
class Keys {
 public:
  explicit Keys(ShardIndex* index) : index_(index) {}

  void Put(int key) {
    std::lock_guard lock(mu_);
    const uint64_t label = ++last_;
    const float row[2] = {static_cast<float>(key), static_cast<float>(label)};
    index_->Add(label, row);
    if (label_[key] != 0) {
      EXPECT_TRUE(index_->Remove(label_[key]));
    }
    label_[key] = label;
    floor_[key].store(label);
  }

  // No row of `key` older than this may be seen, and one at least as new must be.
  uint64_t floor(int key) const { return floor_[key].load(); }

  template <typename Fn>
  auto Locked(Fn fn) {
    std::lock_guard lock(mu_);
    return fn();
  }

 private:
  ShardIndex* const index_;
  std::mutex mu_;
  uint64_t last_ = 0;
  uint64_t label_[kKeys] = {};
  std::atomic<uint64_t> floor_[kKeys] = {};
};

TEST(ShardIndexConcurrency, NoSearchMissesAKey) {
  ShardIndex index({Metric::kInnerProduct, 2, 16});
  Keys keys(&index);
  for (int key = 0; key < kKeys; ++key) keys.Put(key);
  std::atomic<bool> done{false};
  std::latch start(4);

  std::thread writer([&] {
    start.arrive_and_wait();
    std::mt19937 rng(1);
    for (int i = 0; i < kWrites; ++i) keys.Put(static_cast<int>(rng() % kKeys));
    done = true;
  });
  int published = 0;
  std::thread builder([&] {
    start.arrive_and_wait();
    while (!done) {
      std::optional<FrozenRows> rows = keys.Locked([&] {
        const size_t segments = index.Stats().segments.size();
        return segments > 3 ? index.FreezeForMerge(0, segments) : index.FreezeForDrain(2);
      });
      if (!rows.has_value()) continue;
      FlatSegmentBuilder build(Metric::kInnerProduct, 2);
      ASSERT_TRUE(
          rows->ForEachLive([&](uint64_t label, const float* v) { return build.Add(label, v); })
              .ok());
      auto segment = *build.Build();
      keys.Locked([&] { ASSERT_TRUE(index.Publish(*std::move(rows), segment).ok()); });
      ++published;
    }
  });
  std::vector<std::thread> readers;
  std::atomic<int> searches{0};
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      start.arrive_and_wait();
      const float query[2] = {1, 0};
      do {
        uint64_t floor[kKeys];
        for (int key = 0; key < kKeys; ++key) floor[key] = keys.floor(key);
        const auto view = index.Pin();
        const auto hits = Search(*view, Metric::kInnerProduct, query, {.k = 1 << 20},
                                 [] { return absl::OkStatus(); });
        ASSERT_TRUE(hits.ok());
        bool seen[kKeys] = {};
        for (const Hit& hit : *hits) {
          const int key = static_cast<int>(hit.score);
          ASSERT_GE(hit.label, floor[key]) << "a version that was gone before the pin";
          seen[key] = true;
        }
        for (int key = 0; key < kKeys; ++key)
          ASSERT_TRUE(seen[key]) << "neither version of " << key;
        ++searches;
      } while (!done);
    });
  }
  writer.join();
  builder.join();
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(searches.load(), 1);
  keys.Locked([&] { EXPECT_EQ(index.Stats().live_rows, kKeys); });
  RecordProperty("published", published);
}

}  // namespace
}  // namespace vecino::index
