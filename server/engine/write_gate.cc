#include "server/engine/write_gate.h"

#include <algorithm>
#include <stop_token>

#include "absl/time/clock.h"

namespace vecino::engine {

WriteGate::Pass& WriteGate::Pass::operator=(Pass&& other) noexcept {
  if (this != &other) {
    Leave();
    gate_ = other.gate_;
    other.gate_ = nullptr;
  }
  return *this;
}

void WriteGate::Pass::Leave() {
  if (gate_ == nullptr) return;
  absl::MutexLock lock(&gate_->mu_);
  if (--gate_->inside_ == 0) gate_->changed_.SignalAll();
  gate_ = nullptr;
}

absl::StatusOr<WriteGate::Pass> WriteGate::Enter(const CallContext& context) {
  {
    absl::MutexLock lock(&mu_);
    if (state_ == State::kMoved) return Pass();
    if (state_ == State::kOpen) {
      ++inside_;
      return Pass(this);
    }
  }
  const absl::Time patience = absl::Now() + kMaxWait;
  // Runs at once when the caller has gone already, so before the lock is taken.
  const std::stop_callback wake(context.stop, [this] {
    absl::MutexLock lock(&mu_);
    changed_.SignalAll();
  });
  absl::MutexLock lock(&mu_);
  while (state_ == State::kClosed) {
    if (context.stop.stop_requested()) {
      return absl::CancelledError(
          "the caller went away while the collection's embeddings were switched");
    }
    if (absl::Now() >= context.deadline) {
      return absl::DeadlineExceededError(
          "the deadline passed while the collection's embeddings were switched");
    }
    if (absl::Now() >= patience) {
      return absl::UnavailableError(
          "the collection's embeddings are switched, which takes long; try again");
    }
    changed_.WaitWithDeadline(&mu_, std::min(patience, context.deadline));
  }
  if (state_ == State::kMoved) return Pass();
  ++inside_;
  return Pass(this);
}

WriteGate::Pass WriteGate::TryEnter() {
  absl::MutexLock lock(&mu_);
  if (state_ != State::kOpen) return Pass();
  ++inside_;
  return Pass(this);
}

absl::Status WriteGate::Close(absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  state_ = State::kClosed;
  while (inside_ > 0) {
    if (changed_.WaitWithDeadline(&mu_, deadline) && inside_ > 0) {
      state_ = State::kOpen;
      changed_.SignalAll();
      return absl::DeadlineExceededError("writes that were under way did not end in time");
    }
  }
  return absl::OkStatus();
}

bool WriteGate::WaitQuiet(absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  while (inside_ > 0) {
    if (changed_.WaitWithDeadline(&mu_, deadline) && inside_ > 0) return false;
  }
  return true;
}

void WriteGate::Set(State state) {
  absl::MutexLock lock(&mu_);
  state_ = state;
  changed_.SignalAll();
}

void WriteGate::Open() { Set(State::kOpen); }
void WriteGate::Move() { Set(State::kMoved); }

}  // namespace vecino::engine
