#include "server/rpc/bidi_session.h"

#include <new>
#include <utility>

#include "absl/time/clock.h"

namespace vecino::rpc {

void BidiSession::Open(BidiPort* port) {
  context_ = port->context();
  absl::MutexLock lock(&mu_);
  port_ = port;
  Pump();
}

void BidiSession::OnRead(bool ok, grpc::ByteBuffer message) {
  absl::MutexLock lock(&mu_);
  reading_ = false;
  if (over_) return;
  if (!ok) {
    ended_ = true;
  } else if (!going_away_ && !failing()) {
    Take(std::move(message));
  }
  Pump();
}

void BidiSession::OnWritten(bool ok) {
  absl::MutexLock lock(&mu_);
  writing_ = false;
  if (!ok) cancelled_ = true;
  Answered();
  Pump();
}

void BidiSession::OnWake() {
  absl::MutexLock lock(&mu_);
  waking_ = false;
  if (over_) return;
  Woken();
  Pump();
}

void BidiSession::OnCancelled() {
  absl::MutexLock lock(&mu_);
  cancelled_ = true;
  Pump();
}

void BidiSession::GoAway() {
  absl::MutexLock lock(&mu_);
  if (going_away_) return;
  going_away_ = true;
  Pump();
}

bool BidiSession::StuckFor(absl::Duration patience) const {
  absl::MutexLock lock(&mu_);
  return settled_ && writing_ && absl::Now() - write_began_ >= patience;
}

void BidiSession::Run(std::function<void()> work) {
  ++running_;
  const bool taken =
      port_->Run([self = shared_from_this(), work = std::move(work)] { self->Work(work); });
  if (taken) return;
  --running_;
  Fail(absl::UnavailableError("the server is stopping; try again shortly"));
}

void BidiSession::Work(const std::function<void()>& work) {
  absl::Status thrown;
  try {
    work();
  } catch (const std::bad_alloc&) {
    thrown = absl::ResourceExhaustedError("the server has no memory left for this call");
  }
  absl::MutexLock lock(&mu_);
  --running_;
  if (!thrown.ok()) Fail(std::move(thrown));
  Pump();
}

void BidiSession::Fail(absl::Status status) {
  if (failure_.ok()) failure_ = std::move(status);
}

void BidiSession::WakeAt(absl::Time time) {
  if (waking_ || over_) return;
  waking_ = true;
  port_->WakeAt(time);
}

absl::Status BidiSession::End() const {
  if (cancelled_) return absl::CancelledError("the caller went away");
  if (!failure_.ok()) return failure_;
  if (ended_) return absl::OkStatus();
  return absl::UnavailableError("the server is stopping; try again shortly");
}

void BidiSession::Pump() {
  if (over_ || port_ == nullptr) return;
  if (!failing() && !settled_) Begin();
  const bool takes_more = !failing() && !ended_ && !going_away_;
  if (takes_more && !reading_ && HasRoom()) {
    reading_ = true;
    port_->Read();
  }
  if (!settled_ && running_ == 0 && !takes_more && (failing() || !Busy())) {
    settled_ = true;
    Settled();
  }
  if (!writing_ && !cancelled_) {
    grpc::ByteBuffer message;
    if (Answer(&message)) {
      writing_ = true;
      write_began_ = absl::Now();
      port_->Write(message);
    }
  }
  if (settled_ && !writing_) {
    over_ = true;
    port_->Finish(End());
  }
}

}  // namespace vecino::rpc
