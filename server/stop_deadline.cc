#include "server/stop_deadline.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace vecino {

StopDeadline::StopDeadline(std::function<void()> end)
    : end_(std::move(end)), thread_([this] { Run(); }) {}

StopDeadline::~StopDeadline() {
  {
    absl::MutexLock lock(&mutex_);
    over_ = true;
  }
  changed_.Signal();
  thread_.join();
}

void StopDeadline::Begin(absl::Duration after) {
  absl::MutexLock lock(&mutex_);
  deadline_ = std::min(deadline_, absl::Now() + after);
  changed_.Signal();
}

void StopDeadline::Run() {
  {
    absl::MutexLock lock(&mutex_);
    while (!over_ && absl::Now() < deadline_) changed_.WaitWithDeadline(&mutex_, deadline_);
    if (over_) return;
  }
  end_();
}

}  // namespace vecino
