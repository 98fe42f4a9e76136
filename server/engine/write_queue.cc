#include "server/engine/write_queue.h"

#include <algorithm>
#include <utility>

namespace vecino::engine {

WriteQueue::WriteQueue(size_t max_writes, CommitFn commit)
    : max_writes_(max_writes), commit_(std::move(commit)) {}

bool WriteQueue::WaitForTurn(Waiter* self, absl::Time deadline) {
  queue_.push_back(self);
  // Who is queued is in queue_, so there is a front.
  const auto in_turn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return queue_.front() == self && !running_;
  };
  while (self->state != Waiter::kDone) {
    if (self->state == Waiter::kTaken) {  // Q2
      self->wake.Wait(&mu_);
      continue;
    }
    if (in_turn()) return true;
    const bool late = self->wake.WaitWithDeadline(&mu_, deadline);
    if (!late || self->state != Waiter::kQueued || in_turn()) continue;
    queue_.erase(std::find(queue_.begin(), queue_.end(), self));
    self->state = Waiter::kDone;
    self->status = absl::DeadlineExceededError(
        "the deadline passed while the write waited for those before it; it was not done");
  }
  return false;
}

absl::Status WriteQueue::Run(absl::Span<ShardWrite> writes, absl::Time deadline) {
  Waiter self;
  self.writes = writes;
  std::vector<Waiter*> taken;
  std::vector<absl::Span<ShardWrite>> batches;
  {
    absl::MutexLock lock(&mu_);
    if (!refused_.ok()) return refused_;
    if (!closed_.ok()) return closed_;
    if (!WaitForTurn(&self, deadline)) return self.status;
    // Lead: take everything up to the next exclusive call or the limit. Q3.
    running_ = true;
    size_t count = 0;
    while (!queue_.empty() && !queue_.front()->exclusive &&
           (taken.empty() || count + queue_.front()->writes.size() <= max_writes_)) {
      Waiter* next = queue_.front();
      queue_.pop_front();
      next->state = Waiter::kTaken;
      count += next->writes.size();
      taken.push_back(next);
      batches.push_back(next->writes);
    }
  }
  commit_(batches);
  absl::MutexLock lock(&mu_);
  running_ = false;
  for (Waiter* waiter : taken) {
    // Signalled under the lock: once it is free, `waiter` may be gone.
    waiter->state = Waiter::kDone;
    waiter->wake.Signal();
  }
  WakeFront();
  return absl::OkStatus();
}

absl::Status WriteQueue::Exclusive(absl::FunctionRef<absl::Status()> fn, absl::Time deadline) {
  Waiter self;
  self.exclusive = true;
  {
    absl::MutexLock lock(&mu_);
    if (!refused_.ok()) return refused_;
    if (!closed_.ok()) return closed_;
    if (!WaitForTurn(&self, deadline)) return self.status;
    running_ = true;
    queue_.pop_front();
  }
  absl::Status status = fn();
  absl::MutexLock lock(&mu_);
  running_ = false;
  WakeFront();
  return status;
}

int WriteQueue::Waiting() const {
  absl::MutexLock lock(&mu_);
  return static_cast<int>(queue_.size());
}

void WriteQueue::WakeFront() {
  idle_.SignalAll();
  if (!queue_.empty()) queue_.front()->wake.Signal();
}

void WriteQueue::FailQueued(const absl::Status& why) {
  for (Waiter* waiter : queue_) {
    waiter->state = Waiter::kDone;
    waiter->status = why;
    waiter->wake.Signal();
  }
  queue_.clear();
}

void WriteQueue::Close(absl::Status why) {
  absl::MutexLock lock(&mu_);
  closed_ = std::move(why);
  FailQueued(closed_);
  while (running_) idle_.Wait(&mu_);
}

void WriteQueue::Reopen() {
  absl::MutexLock lock(&mu_);
  closed_ = absl::OkStatus();
}

void WriteQueue::Refuse(absl::Status why) {
  absl::MutexLock lock(&mu_);
  refused_ = std::move(why);
  FailQueued(refused_);
}

}  // namespace vecino::engine
