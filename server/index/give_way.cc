#include "server/index/give_way.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
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
thread_local int64_t next_yield = 0;

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

bool SearchedLately(int64_t now) {
  return now - last_search.load(std::memory_order_relaxed) < kLately;
}

// Who yields loses what is left of its turn: where searches take all processors it waits for
// milliseconds. So it then works for as long as it waited before it yields again, and takes twice
// the time at most.
void YieldAt(int64_t now) {
  if (now < next_yield) return;
  next_yield = now + kShortWork;
  if (!SearchedLately(now)) return;
  sched_yield();
  const int64_t back = Now();
  next_yield = back + std::max(kShortWork, back - now);
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
    YieldAt(now);
    return;
  }
  awake_since = now;
  if (!SearchedLately(now)) return;
  constexpr timespec kTime{.tv_sec = 0, .tv_nsec = kNap};
  nanosleep(&kTime, nullptr);  // a signal may end it early: no harm
  awake_since = Now();
  next_yield = awake_since + kShortWork;
}

void YieldToSearches() { YieldAt(Now()); }

}  // namespace vecino::index
