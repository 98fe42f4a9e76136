#include "server/index/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <new>
#include <thread>
#include <vector>

namespace vecino::index {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

TEST(ParallelForTest, EachTaskIsDoneOnce) {
  for (const int threads : {-1, 0, 1, 2, 5, 100}) {
    for (const size_t tasks : {size_t{0}, size_t{1}, size_t{3}, size_t{1000}}) {
      std::vector<std::atomic<int>> done(tasks);
      EXPECT_TRUE(ParallelFor(threads, tasks, GoOn, [&](size_t task, Checkpoint checkpoint) {
                    ++done[task];
                    return checkpoint();
                  }).ok());
      for (const auto& times : done) EXPECT_EQ(times, 1) << threads << " " << tasks;
    }
  }
}

TEST(ParallelForTest, TheCheckpointIsCalledOnTheCallersThreadOnly) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> asked = 0, elsewhere = 0, others = 0;
  const auto checkpoint = [&] {
    ++asked;
    elsewhere += std::this_thread::get_id() != caller;
    return absl::OkStatus();
  };
  EXPECT_TRUE(ParallelFor(3, 300, checkpoint, [&](size_t, Checkpoint go_on) {
                others += std::this_thread::get_id() != caller;
                std::this_thread::sleep_for(std::chrono::microseconds(100));
                return go_on();
              }).ok());
  EXPECT_GT(asked, 0);
  EXPECT_EQ(elsewhere, 0);
  EXPECT_GT(others, 0);
}

TEST(ParallelForTest, TheFirstErrorStopsAll) {
  for (const int threads : {1, 4}) {
    std::atomic<int> begun = 0;
    const absl::Status status =
        ParallelFor(threads, 100'000, GoOn, [&](size_t task, Checkpoint) -> absl::Status {
          ++begun;
          return task == 50 ? absl::DataLossError("fifty") : absl::OkStatus();
        });
    EXPECT_EQ(status, absl::DataLossError("fifty"));
    EXPECT_LT(begun, 100'000);
  }
}

TEST(ParallelForTest, ACancelledCallerStopsTheOthersInTheirTasks) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> other_works = false;
  const auto cancel = [&] {
    while (!other_works) std::this_thread::yield();
    return absl::CancelledError("stop");
  };
  const absl::Status status = ParallelFor(2, 10, cancel, [&](size_t, Checkpoint go_on) {
    EXPECT_NE(std::this_thread::get_id(), caller);
    other_works = true;
    absl::Status stopped;
    while ((stopped = go_on()).ok()) std::this_thread::yield();
    return stopped;
  });
  EXPECT_EQ(status, absl::CancelledError("stop"));
}

TEST(ParallelForTest, NoMemoryIsAnError) {
  for (const int threads : {1, 3}) {
    const absl::Status status = ParallelFor(
        threads, 10, GoOn, [](size_t, Checkpoint) -> absl::Status { throw std::bad_alloc(); });
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    const absl::Status of_checkpoint = ParallelFor(
        threads, 1000, []() -> absl::Status { throw std::bad_alloc(); },
        [](size_t, Checkpoint) {
          std::this_thread::sleep_for(std::chrono::microseconds(10));
          return absl::OkStatus();
        });
    EXPECT_EQ(of_checkpoint.code(), absl::StatusCode::kResourceExhausted);
  }
}

}  // namespace
}  // namespace vecino::index
