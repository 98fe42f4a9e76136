#include "server/engine/token_waits.h"

#include "absl/strings/str_cat.h"

namespace vecino::engine {

absl::Status TokenWaits::StoppedError() {
  return absl::UnavailableError("the server is stopping; try again");
}

absl::Status TokenWaits::Place::Take() {
  if (taken_) return absl::OkStatus();
  if (waits_->stop_.stop_requested()) return StoppedError();
  absl::MutexLock lock(&waits_->mu_);
  if (waits_->waiting_ >= kMaxTokenWaiters) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a write token is not reached yet, and ", waits_->waiting_,
        " calls wait for theirs already, which is the limit; send the call again later"));
  }
  ++waits_->waiting_;
  taken_ = true;
  return absl::OkStatus();
}

TokenWaits::Place::~Place() {
  if (!taken_) return;
  absl::MutexLock lock(&waits_->mu_);
  --waits_->waiting_;
}

}  // namespace vecino::engine
