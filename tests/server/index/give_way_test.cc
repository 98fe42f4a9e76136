#include "server/index/give_way.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "server/index/parallel.h"

namespace vecino::index {
namespace {

using Clock = std::chrono::steady_clock;

// How often a thread gave its processor up on its own while it worked for 100 ms.
int64_t SleepsInWork() {
  rusage before = {}, after = {};
  getrusage(RUSAGE_THREAD, &before);
  for (const auto begin = Clock::now(); Clock::now() - begin < std::chrono::milliseconds(100);) {
    GiveWay();
  }
  getrusage(RUSAGE_THREAD, &after);
  return after.ru_nvcsw - before.ru_nvcsw;
}

TEST(GiveWayTest, OnlyBackgroundThreadsSleepAndOnlyBesideSearches) {
  while (SearchedLately()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::thread([] {
    EXPECT_FALSE(IsBackground());
    SetBackground(true);
    EXPECT_LE(SleepsInWork(), 1) << "nobody searches";
    NoteSearch();
    EXPECT_TRUE(SearchedLately());
    const int64_t sleeps = SleepsInWork();
    EXPECT_GE(sleeps, 2);
    EXPECT_LE(sleeps, 100) << "not more than one for each millisecond";
    SetBackground(false);
    EXPECT_LE(SleepsInWork(), 1) << "the work of a foreground thread";
  }).join();
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_FALSE(SearchedLately());
}

// One of those that this process may use.
cpu_set_t OneProcessor() {
  cpu_set_t allowed, one;
  EXPECT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0 && cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &one);
  }
  return one;
}

// How many calls in 60 ms of the wall took long enough for another thread to have run, of a thread
// that works for 50 µs between two of them: if it loses its processor there, none of them sees it.
int LongYields() {
  int found = 0;
  const auto start = Clock::now();
  while (Clock::now() - start < std::chrono::milliseconds(60)) {
    for (const auto begin = Clock::now(); Clock::now() - begin < std::chrono::microseconds(50);) {
    }
    const auto begin = Clock::now();
    YieldToSearches();
    found += Clock::now() - begin > std::chrono::microseconds(200);
  }
  return found;
}

TEST(GiveWayTest, WritesLetThoseRunThatWait) {
  const cpu_set_t one = OneProcessor();
  while (SearchedLately()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::atomic<bool> stop = false;
  std::thread waits([&] {
    sched_setaffinity(0, sizeof(one), &one);
    while (!stop.load()) continue;
  });
  std::thread([&] {
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    const int alone = LongYields();
    NoteSearch();
    const int beside = LongYields();
    EXPECT_GE(beside, alone + 3) << alone << " while nobody searches";
  }).join();
  stop = true;
  waits.join();
}

// A thread that never has enough of the same processor must not take it all: without a limit to its
// yields the writer needs 2 s.
TEST(GiveWayTest, WritesAreNotStarvedByThoseTheyLetRun) {
  const cpu_set_t one = OneProcessor();
  std::atomic<bool> stop = false;
  std::thread takes_all([&] {
    sched_setaffinity(0, sizeof(one), &one);
    while (!stop.load()) NoteSearch();
  });
  std::thread([&] {
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    const auto worked = [] {
      timespec time;
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
      return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    };
    NoteSearch();
    const auto begin = Clock::now();
    const auto cpu_begin = worked();
    while (worked() - cpu_begin < std::chrono::milliseconds(60)) YieldToSearches();
    EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(1200));
  }).join();
  stop = true;
  takes_all.join();
}

TEST(GiveWayTest, TheThreadsOfParallelWorkAreWhatTheirCallerIs) {
  for (const bool background : {true, false}) {
    std::thread([background] {
      SetBackground(background);
      std::atomic<int> same = 0;
      const auto go_on = [] { return absl::OkStatus(); };
      EXPECT_TRUE(ParallelFor(3, 30, go_on, [&](size_t, Checkpoint) {
                    same += IsBackground() == background;
                    std::this_thread::sleep_for(std::chrono::microseconds(200));
                    return absl::OkStatus();
                  }).ok());
      EXPECT_EQ(same, 30);
    }).join();
  }
}

}  // namespace
}  // namespace vecino::index
