#include "server/engine/maintenance.h"

#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace vecino::engine {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(100);
constexpr absl::Duration kMaxRetry = absl::Minutes(1);

// Best effort: a container may forbid it, and then maintenance merely competes on equal terms.
void LowerPriority() {
  const sched_param param{};
  sched_setscheduler(0, SCHED_BATCH, &param);  // 0: this thread
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 19);
}

}  // namespace

Maintenance::Maintenance(int threads, EngineMetrics* metrics) : metrics_(metrics) {
  for (int i = 0; i < std::max(threads, 1); ++i) threads_.emplace_back([this] { Loop(); });
}

void Maintenance::Notify(const std::shared_ptr<Shard>& shard) {
  absl::MutexLock lock(&mu_);
  if (stopping_) return;
  auto [it, is_new] = jobs_.try_emplace(shard.get());
  if (is_new) {
    it->second.shard = shard;
    it->second.due = absl::Now();
    changed_.SignalAll();
  } else if (it->second.running) {
    it->second.again = true;
  } else if (it->second.idle) {
    it->second.idle = false;
    it->second.due = absl::Now();
    changed_.SignalAll();
  }
}

const Shard* Maintenance::NextDue(absl::Time* due) const {
  const Shard* next = nullptr;
  *due = absl::InfiniteFuture();
  for (const auto& [shard, job] : jobs_) {
    if (job.running || job.due >= *due) continue;
    next = shard;
    *due = job.due;
  }
  return next;
}

void Maintenance::Loop() {
  LowerPriority();
  mu_.Lock();
  while (!stopping_) {
    absl::Time due;
    const Shard* const key = NextDue(&due);
    if (due > absl::Now()) {
      changed_.WaitWithDeadline(&mu_, due);
      continue;
    }
    Job& job = jobs_.at(key);
    job.running = true;
    job.idle = false;
    job.again = false;
    std::shared_ptr<Shard> shard = job.shard.lock();
    mu_.Unlock();
    absl::StatusOr<Shard::Maintained> worked = Shard::Maintained{};
    if (shard != nullptr) worked = shard->Maintain(stop_.get_token());
    const bool gone = shard == nullptr;
    shard.reset();  // may be the last holder, and frees the shard outside of the lock
    mu_.Lock();
    Job& done = jobs_.at(key);
    done.running = false;
    if (stopping_ || absl::IsCancelled(worked.status())) {
      // The shard was closed, or the server stops: nothing failed. A shard that opens again is
      // notified.
      jobs_.erase(key);
    } else if (!worked.ok()) {
      metrics_->maintenance_failures.Add();
      const absl::Duration wait =
          std::min(kFirstRetry * (int64_t{1} << std::min(done.failures++, 20)), kMaxRetry);
      spdlog::warn("maintenance failed and is tried again in {}: {}", absl::FormatDuration(wait),
                   worked.status().ToString());
      done.due = absl::Now() + wait;
    } else if (!gone && (worked->worked || done.again)) {
      done.failures = 0;
      done.due = absl::Now();
    } else if (!gone && worked->look_again < absl::InfiniteFuture()) {
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
