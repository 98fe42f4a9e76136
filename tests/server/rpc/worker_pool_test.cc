#include "server/rpc/worker_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <latch>
#include <vector>

namespace vecino::rpc {
namespace {

TEST(WorkerPoolTest, RefusesWhenFull) {
  WorkerPool pool(2, 3);
  std::latch started(2);
  std::promise<void> open;
  const std::shared_future<void> gate = open.get_future().share();
  std::atomic<int> ran = 0;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(pool.TrySubmit([&] {
      started.count_down();
      gate.wait();
      ++ran;
    }));
  }
  started.wait();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool.TrySubmit([&] { ++ran; }));
  EXPECT_EQ(pool.queued(), 3);
  EXPECT_FALSE(pool.TrySubmit([&] { ran = -100; }));
  open.set_value();
  pool.Shutdown();
  EXPECT_EQ(ran, 5);  // what waited was run
  EXPECT_FALSE(pool.TrySubmit([] {}));
  EXPECT_EQ(pool.queued(), 0);
}

TEST(WorkerPoolTest, RunsInOrderOnOneThread) {
  std::vector<int> order;
  {
    WorkerPool pool(1, 100);
    for (int i = 0; i < 100; ++i) {
      while (!pool.TrySubmit([&order, i] { order.push_back(i); })) {
      }
    }
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(WorkerPoolTest, ManyProducers) {
  WorkerPool pool(4, 16);
  std::atomic<int> accepted = 0, ran = 0;
  std::vector<std::thread> producers;
  for (int p = 0; p < 4; ++p) {
    producers.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) accepted += pool.TrySubmit([&] { ++ran; });
    });
  }
  for (std::thread& producer : producers) producer.join();
  pool.Shutdown();
  pool.Shutdown();
  EXPECT_GT(accepted, 0);
  EXPECT_EQ(ran, accepted);
}

TEST(WorkerPoolTest, ThreadsYieldAsFarAsTheyAreTold) {
  const auto nice = [] {
    return getpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)));
  };
  const int own = nice();
  for (const int more : {0, 10}) {
    int found = -100;
    {
      WorkerPool pool(1, 1, more);
      ASSERT_TRUE(pool.TrySubmit([&] { found = nice(); }));
    }
    EXPECT_EQ(found, std::min(own + more, 19));
  }
  EXPECT_EQ(nice(), own);
}

}  // namespace
}  // namespace vecino::rpc
