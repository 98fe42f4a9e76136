#include "server/engine/expiries.h"

#include <algorithm>

namespace vecino::engine {

void Expiries::SetFirst() {
  first_.store(by_time_.empty() ? kNever : by_time_.begin()->first, std::memory_order_release);
}

void Expiries::Add(int64_t expire_time_us, uint64_t sequence) {
  if (expire_time_us == 0) return;
  absl::MutexLock lock(&mu_);
  by_time_.emplace(expire_time_us, sequence);
  SetFirst();
}

void Expiries::Remove(int64_t expire_time_us, uint64_t sequence) {
  if (expire_time_us == 0) return;
  absl::MutexLock lock(&mu_);
  by_time_.erase({expire_time_us, sequence});
  SetFirst();
}

std::vector<uint64_t> Expiries::FirstDue(int64_t now_us, size_t limit) const {
  std::vector<uint64_t> due;
  if (NothingDue(now_us)) return due;
  absl::MutexLock lock(&mu_);
  for (const auto& [time, sequence] : by_time_) {
    if (time > now_us || due.size() == limit) break;
    due.push_back(sequence);
  }
  return due;
}

std::vector<uint64_t> Expiries::Due(int64_t now_us) const {
  std::vector<uint64_t> due = FirstDue(now_us, std::numeric_limits<size_t>::max());
  std::sort(due.begin(), due.end());
  return due;
}

int64_t Expiries::CountDue(int64_t now_us) const {
  if (NothingDue(now_us)) return 0;
  absl::MutexLock lock(&mu_);
  int64_t count = 0;
  for (auto it = by_time_.begin(); it != by_time_.end() && it->first <= now_us; ++it) ++count;
  return count;
}

}  // namespace vecino::engine
