#include "server/engine/live_index_spec.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

namespace vecino::engine {
namespace {

TEST(LiveIndexSpec, KeepsWhatMayChangeAndTheRestAsItWasMade) {
  const IndexSpec made = {.kind = IndexKind::kIvfPq,
                          .recall_target = 0.95,
                          .nlist = 65536,
                          .nprobe = 65536,
                          .pq_m = 4,
                          .ef_search = 4096,
                          .graph = false};
  LiveIndexSpec live(made);
  EXPECT_EQ(live.Get().recall_target, 0.95);
  EXPECT_EQ(live.Get().nprobe, 65536);
  EXPECT_EQ(live.Get().ef_search, 4096);
  EXPECT_FALSE(live.Get().graph);
  live.Set({.kind = IndexKind::kHnsw, .recall_target = 1, .nlist = 1, .nprobe = 1});
  const IndexSpec now = live.Get();
  EXPECT_EQ(now.recall_target, 1);
  EXPECT_EQ(now.nprobe, 1);
  EXPECT_EQ(now.ef_search, 0);
  EXPECT_TRUE(now.graph);
  EXPECT_EQ(now.kind, IndexKind::kIvfPq);
  EXPECT_EQ(now.nlist, 65536);
  EXPECT_EQ(now.pq_m, 4);
  live.Set({.recall_target = 1e-6});
  EXPECT_EQ(live.Get().recall_target, 1e-6);
}

TEST(LiveIndexSpec, PacksEachAsAnother) {
  std::set<uint64_t> packed;
  for (const double recall : {1e-6, 0.95, 0.950001, 1.0}) {
    for (const int nprobe : {0, 1, 65536}) {
      for (const int ef : {0, 1, 4096}) {
        for (const bool graph : {false, true}) {
          packed.insert(LiveIndexSpec::Pack(
              {.recall_target = recall, .nprobe = nprobe, .ef_search = ef, .graph = graph}));
        }
      }
    }
  }
  EXPECT_EQ(packed.size(), 72u);
  EXPECT_EQ(LiveIndexSpec::Pack({.nlist = 7}), LiveIndexSpec::Pack({.pq_m = 3}));
}

TEST(LiveIndexSpec, IsOfOneMoment) {
  LiveIndexSpec live({.recall_target = 0.5, .nprobe = 5});
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; i < 100'000; ++i) {
      live.Set(i % 2 == 0 ? IndexSpec{.recall_target = 0.9, .nprobe = 9}
                          : IndexSpec{.recall_target = 0.5, .nprobe = 5});
    }
    stop = true;
  });
  while (!stop) {
    const IndexSpec spec = live.Get();
    EXPECT_EQ(spec.nprobe, spec.recall_target == 0.9 ? 9 : 5);
  }
  writer.join();
}

}  // namespace
}  // namespace vecino::engine
