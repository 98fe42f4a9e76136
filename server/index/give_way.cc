#include "server/index/give_way.h"

#include <sched.h>
#include <time.h>

#include <atomic>
#include <cstdint>

namespace vecino::index {
namespace {

// Nanoseconds.
constexpr int64_t kLately = 1'000'000'000;
constexpr int64_t kCoarse = 50'000'000;  // written seldom, so that cores do not pass the line on
constexpr int64_t kWork = 1'000'000;
constexpr int64_t kShortWork = 100'000;
constexpr int64_t kNap = 100'000;  // the timer's slack adds 50,000

std::atomic<int64_t> last_search{-kLately - kCoarse};
thread_local bool is_background = false;
thread_local int64_t awake_since = 0;
thread_local int64_t yielded = 0;

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

bool SearchedLately(int64_t now) {
  return now - last_search.load(std::memory_order_relaxed) < kLately;
}

}  // namespace

void SetBackground(bool background) { is_background = background; }
bool IsBackground() { return is_background; }

void NoteSearch() {
  const int64_t now = Now();
  if (now - last_search.load(std::memory_order_relaxed) > kCoarse) {
    last_search.store(now, std::memory_order_relaxed);
  }
}

bool SearchedLately() { return SearchedLately(Now()); }

void GiveWay() {
  if (!is_background) return;
  const int64_t now = Now();
  if (now - awake_since < kWork) {
    if (now - yielded < kShortWork) return;
    yielded = now;
    if (SearchedLately(now)) sched_yield();
    return;
  }
  awake_since = now;
  if (!SearchedLately(now)) return;
  constexpr timespec kTime{.tv_sec = 0, .tv_nsec = kNap};
  nanosleep(&kTime, nullptr);  // a signal may end it early: no harm
  yielded = awake_since = Now();
}

void YieldToSearches() {
  const int64_t now = Now();
  if (now - yielded < kShortWork) return;
  yielded = now;
  if (SearchedLately(now)) sched_yield();
}

}  // namespace vecino::index
