#include "server/rpc/queue_poller.h"

#include <grpcpp/alarm.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

namespace vecino::rpc {
namespace {

// An event at once.
void Post(grpc::Alarm* alarm, grpc::CompletionQueue* queue, int64_t tag) {
  alarm->Set(queue, std::chrono::system_clock::now(), reinterpret_cast<void*>(tag));
}

TEST(QueuePoller, TakesEveryEventOnItsOwnThread) {
  grpc::CompletionQueue queue;
  grpc::Alarm alarms[100];
  std::atomic<int> events{0};
  std::promise<void> all;
  QueuePoller poller(&queue, [&](void*, bool) {
    EXPECT_NE(QueuePoller::Current(), nullptr);
    if (++events == 100) all.set_value();
  });
  EXPECT_EQ(QueuePoller::Current(), nullptr);
  for (int i = 0; i < 100; ++i) Post(&alarms[i], &queue, i);
  all.get_future().wait();
  poller.WaitForRun();
  queue.Shutdown();
}

TEST(QueuePoller, ALongRunDoesNotHoldUpTheQueue) {
  grpc::CompletionQueue queue;
  grpc::Alarm alarms[20];
  std::promise<void> go_on;
  std::atomic<int> others{0};
  std::atomic<bool> by_guard{true};
  QueuePoller poller(&queue, [&](void* tag, bool) {
    if (reinterpret_cast<int64_t>(tag) == 1) {
      QueuePoller* const here = QueuePoller::Current();
      ASSERT_NE(here, nullptr);
      here->Begin();
      // Ends only when another thread takes the other events.
      for (int i = 0; i < 10; ++i) Post(&alarms[i], &queue, 100 + i);
      go_on.get_future().wait();
      here->End();
      return;
    }
    if (QueuePoller::Current() != nullptr) by_guard = false;
    if (++others == 10) go_on.set_value();
  });
  Post(&alarms[19], &queue, 1);
  while (others < 10) std::this_thread::yield();
  poller.WaitForRun();
  EXPECT_TRUE(by_guard);
  queue.Shutdown();
}

TEST(QueuePoller, TheGuardWakesAgainAfterAQuietTime) {
  grpc::CompletionQueue queue;
  std::atomic<int> rounds{0};
  std::promise<void> go_on[2];
  grpc::Alarm alarms[4];
  QueuePoller poller(&queue, [&](void* tag, bool) {
    const auto number = reinterpret_cast<int64_t>(tag);
    if (number < 2) {
      QueuePoller::Current()->Begin();
      Post(&alarms[2 + number], &queue, 2 + number);
      go_on[number].get_future().wait();
      QueuePoller::Current()->End();
      ++rounds;
    } else {
      go_on[number - 2].set_value();
    }
  });
  for (int64_t round = 0; round < 2; ++round) {
    // What is tested is that it does not sleep for ever: the guard may or may not be asleep by now.
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    Post(&alarms[round], &queue, round);
    while (rounds <= round) std::this_thread::yield();
  }
  poller.WaitForRun();
  EXPECT_EQ(rounds, 2);
  queue.Shutdown();
}

TEST(QueuePoller, EndsWithAnEmptyQueue) {
  grpc::CompletionQueue queue;
  queue.Shutdown();
  std::atomic<int> events{0};
  {
    QueuePoller poller(&queue, [&](void*, bool) { ++events; });
  }
  EXPECT_EQ(events, 0);
}

}  // namespace
}  // namespace vecino::rpc
