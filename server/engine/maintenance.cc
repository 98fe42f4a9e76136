#include "server/engine/maintenance.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "server/engine/low_priority.h"

namespace vecino::engine {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(100);
constexpr absl::Duration kMaxRetry = absl::Minutes(1);

}  // namespace

Maintenance::Maintenance(int threads, EngineMetrics* metrics) : metrics_(metrics) {
  for (int i = 0; i < std::max(threads, 1); ++i) {
    threads_.emplace_back([this] { Loop(Shard::Effort::kAny); });
  }
  threads_.emplace_back([this] { Loop(Shard::Effort::kShort); });
}

void Maintenance::Notify(const std::shared_ptr<Shard>& shard) {
  absl::MutexLock lock(&mu_);
  if (stopping_) return;
  auto [it, is_new] = jobs_.try_emplace(shard.get());
  it->second.shard = shard;  // perhaps a new one at the address of one that is gone
  if (is_new) {
    it->second.due = absl::Now();
    changed_.SignalAll();
  } else if (it->second.running) {
    it->second.again = true;
  } else if (it->second.idle || it->second.wants_long) {
    if (it->second.idle) it->second.due = absl::Now();
    it->second.idle = it->second.wants_long = false;  // it may be short work
    changed_.SignalAll();
  }
}

const Shard* Maintenance::NextDue(Shard::Effort effort, absl::Time* due) const {
  const Shard* next = nullptr;
  *due = absl::InfiniteFuture();
  for (const auto& [shard, job] : jobs_) {
    if (job.running || job.due >= *due) continue;
    if (job.wants_long && effort == Shard::Effort::kShort) continue;
    next = shard;
    *due = job.due;
  }
  return next;
}

void Maintenance::Loop(Shard::Effort effort) {
  LowerPriority();
  mu_.Lock();
  while (!stopping_) {
    absl::Time due;
    const Shard* const key = NextDue(effort, &due);
    if (due > absl::Now()) {
      changed_.WaitWithDeadline(&mu_, due);
      continue;
    }
    Job& job = jobs_.at(key);
    job.running = true;
    job.idle = false;
    job.again = false;
    job.wants_long = false;
    std::shared_ptr<Shard> shard = job.shard.lock();
    mu_.Unlock();
    absl::StatusOr<Shard::Maintained> worked = Shard::Maintained{};
    if (shard != nullptr) worked = shard->Maintain(stop_.get_token(), effort);
    const bool gone = shard == nullptr || absl::IsCancelled(worked.status());
    shard.reset();  // may be the last holder, and frees the shard outside of the lock
    mu_.Lock();
    Job& done = jobs_.at(key);
    done.running = false;
    if (stopping_ || (gone && !done.again)) {
      // The shard was closed, or the server stops: nothing failed.
      jobs_.erase(key);
    } else if (gone) {
      done.due = absl::Now();  // another shard, made at the same address meanwhile
    } else if (!worked.ok()) {
      metrics_->maintenance_failures.Add();
      const absl::Duration wait =
          std::min(kFirstRetry * (int64_t{1} << std::min(done.failures++, 20)), kMaxRetry);
      spdlog::warn("maintenance failed and is tried again in {}: {}", absl::FormatDuration(wait),
                   worked.status().ToString());
      done.due = absl::Now() + wait;
    } else if (worked->wants_long) {
      done.wants_long = !done.again;  // a Notify may have brought short work
      done.due = absl::Now();
    } else if (worked->worked || done.again) {
      done.failures = 0;
      done.due = absl::Now();
    } else if (worked->look_again < absl::InfiniteFuture()) {
      done.failures = 0;
      done.idle = true;
      done.due = worked->look_again;
    } else {
      jobs_.erase(key);
    }
    changed_.SignalAll();
  }
  mu_.Unlock();
}

void Maintenance::WaitIdle() {
  absl::MutexLock lock(&mu_);
  while (BacklogLocked() > 0 && !stopping_) changed_.Wait(&mu_);
}

int Maintenance::Backlog() const {
  absl::MutexLock lock(&mu_);
  return BacklogLocked();
}

int Maintenance::BacklogLocked() const {
  int backlog = 0;
  for (const auto& [shard, job] : jobs_) backlog += !job.idle;
  return backlog;
}

void Maintenance::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  stop_.request_stop();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace vecino::engine
