#include "server/engine/expiry_reaper.h"

#include <utility>

namespace vecino::engine {

ExpiryReaper::ExpiryReaper(absl::Duration interval, std::function<void(std::stop_token)> reap)
    : interval_(interval), reap_(std::move(reap)), thread_([this] { Loop(); }) {}

void ExpiryReaper::Loop() {
  mu_.Lock();
  while (!stopping_) {
    stopped_.WaitWithTimeout(&mu_, interval_);
    if (stopping_) break;
    mu_.Unlock();
    reap_(stop_.get_token());
    mu_.Lock();
  }
  mu_.Unlock();
}

void ExpiryReaper::Stop() {
  stop_.request_stop();
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    stopped_.SignalAll();
  }
  absl::MutexLock lock(&join_mu_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace vecino::engine
