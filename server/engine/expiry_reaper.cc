#include "server/engine/expiry_reaper.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "server/engine/collection.h"
#include "server/engine/registry.h"

namespace vecino::engine {

std::function<void(std::stop_token)> ReapAll(std::shared_ptr<const Registry> registry) {
  return [registry = std::move(registry), failing = false](std::stop_token stop) mutable {
    absl::Status failure;
    for (const auto& collection : registry->All()) {
      if (stop.stop_requested()) return;
      absl::Status status = collection->ReapExpired(stop);
      // Not found: it is being deleted.
      if (!status.ok() && !absl::IsNotFound(status)) failure = std::move(status);
    }
    if (!failure.ok() && !failing) {
      spdlog::warn("documents that have expired are not deleted for now: {}", failure.ToString());
    }
    failing = !failure.ok();
  };
}

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
