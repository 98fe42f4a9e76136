#include "server/engine/event_bus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;
using Watcher = EventBus::Watcher;

Event Of(const std::string& collection, const std::string& message) {
  return {.time = {},
          .collection = collection,
          .shard = 3,
          .kind = Event::Kind::kMerge,
          .message = message};
}

std::string Next(Watcher& watcher) {
  const auto next = watcher.Take();
  return next.has_value() ? absl::StrCat(next->event.message, next->missed > 0 ? "!" : "",
                                         next->missed > 0 ? absl::StrCat(next->missed) : "")
                          : "-";
}

// The next `count`, one behind the other.
std::string Next(Watcher& watcher, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += Next(watcher);
  return all;
}

TEST(EventBus, EachWatcherHasItsOwn) {
  EventBus bus;
  bus.Publish(Of("a", "nobody hears"));
  auto all = *bus.Watch("");
  auto a = *bus.Watch("a");
  const absl::Time before = absl::Now();
  bus.Publish(Of("a", "1"));
  bus.Publish(Of("b", "2"));
  auto late = *bus.Watch("");
  bus.Publish(Of("", "3"));
  const auto first = all->Take();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->event.message, "1");
  EXPECT_EQ(first->event.collection, "a");
  EXPECT_EQ(first->event.shard, 3);
  EXPECT_EQ(first->event.kind, Event::Kind::kMerge);
  EXPECT_GE(first->event.time, before);
  EXPECT_EQ(first->missed, 0);
  EXPECT_EQ(Next(*all, 3), "23-");
  EXPECT_EQ(Next(*a, 2), "1-");
  EXPECT_EQ(Next(*late, 2), "3-");
}

TEST(EventBus, ASlowReaderLosesTheOldestAndIsTold) {
  EventBus bus;
  auto slow = *bus.Watch("");
  constexpr int kLost = 7;
  for (size_t i = 0; i < EventBus::kRingEvents + kLost; ++i) bus.Publish(Of("c", absl::StrCat(i)));
  EXPECT_EQ(Next(*slow), "7!7");
  EXPECT_EQ(Next(*slow), "8");
  bus.Publish(Of("c", "x"));
  bus.Publish(Of("c", "y"));
  bus.Publish(Of("c", "z"));
  EXPECT_EQ(Next(*slow), "10!1");
  for (size_t i = 0; i < EventBus::kRingEvents - 2; ++i) slow->Take();
  EXPECT_EQ(Next(*slow, 2), "z-");
}

TEST(EventBus, WakesOnceAndNotWhenThereIsSomething) {
  EventBus bus;
  auto watcher = *bus.Watch("c");
  std::atomic<int> woken{0};
  absl::Notification first, second;
  EXPECT_FALSE(watcher->WakeWhenReady([&] {
    ++woken;
    first.Notify();
  }));
  bus.Publish(Of("other", "0"));
  bus.Publish(Of("c", "1"));
  first.WaitForNotification();
  bus.Publish(Of("c", "2"));
  EXPECT_TRUE(watcher->WakeWhenReady([&] { ++woken; }));
  EXPECT_EQ(Next(*watcher, 2), "12");
  EXPECT_FALSE(watcher->WakeWhenReady([&] {
    ++woken;
    second.Notify();
  }));
  bus.Publish(Of("c", "3"));
  second.WaitForNotification();
  EXPECT_EQ(woken.load(), 2);
}

TEST(EventBus, WatchersAreLimitedAndLeave) {
  EventBus bus;
  std::vector<std::unique_ptr<Watcher>> watchers;
  for (size_t i = 0; i < EventBus::kMaxWatchers; ++i) watchers.push_back(*bus.Watch(""));
  const auto refused = bus.Watch("");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("64"));
  watchers.pop_back();
  EXPECT_TRUE(bus.Watch("").ok());
}

// Watchers that come, wait and go while producers publish: for the sanitizers, and that no event
// between Watch and the last Take is lost without being counted.
TEST(EventBus, ManyThreads) {
  EventBus bus;
  constexpr int kEvents = 20'000;
  std::atomic<bool> done{false};
  auto steady = *bus.Watch("");
  std::thread reader([&] {
    int64_t heard = 0, missed = 0;
    while (heard + missed < 2 * kEvents) {
      if (const auto next = steady->Take()) {
        ++heard;
        missed += next->missed;
        continue;
      }
      // Shared: the bus's thread may still be leaving Notify() when this one goes on.
      const auto there = std::make_shared<absl::Notification>();
      if (!steady->WakeWhenReady([there] { there->Notify(); })) there->WaitForNotification();
    }
    EXPECT_EQ(heard + missed, 2 * kEvents);
  });
  std::thread guest([&] {
    while (!done.load()) {
      auto watcher = *bus.Watch("c");
      watcher->WakeWhenReady([] {});
      watcher->Take();
    }
  });
  std::vector<std::thread> producers;
  for (int t = 0; t < 2; ++t) {
    producers.emplace_back([&] {
      for (int i = 0; i < kEvents; ++i) bus.Publish(Of("c", "e"));
    });
  }
  for (std::thread& thread : producers) thread.join();
  reader.join();
  done = true;
  guest.join();
}

}  // namespace
}  // namespace vecino::engine
