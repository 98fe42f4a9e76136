#include "server/rpc/bidi_call.h"

#include <utility>

#include "server/rpc/status.h"

namespace vecino::rpc {

void BidiCall::Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                       grpc::ServerCompletionQueue* queue) {
  auto* call = new BidiCall(owner, service, method, tag_data, queue);
  service->RequestBidi(method, &call->context_, &call->stream_, queue, &call->received_tag_);
}

void BidiCall::Converse(std::shared_ptr<BidiSession> session, Runner runner) {
  runner_ = std::move(runner);
  {
    absl::MutexLock lock(&session_mutex_);
    session_ = session;
  }
  // The session may finish the call at any time from here on.
  const std::stop_token stop = stop_.get_token();
  session->Open(this);
  // The caller may have gone before there was a session to tell.
  if (stop.stop_requested()) session->OnCancelled();
}

std::shared_ptr<BidiSession> BidiCall::session() const {
  absl::MutexLock lock(&session_mutex_);
  return session_;
}

void BidiCall::Finish(grpc::Status status) {
  status_ = std::move(status);
  stream_.Finish(status_, &finished_tag_);
}

void BidiCall::Finish(const absl::Status& status) {
  alarm_.Cancel();
  Finish(ToGrpcStatus(status));
}

bool BidiCall::Written(bool ok) {
  session()->OnWritten(ok);
  return true;
}

void BidiCall::Read(bool ok) {
  grpc::ByteBuffer message;
  message.Swap(&message_);
  session()->OnRead(ok, std::move(message));
}

void BidiCall::Woken() { session()->OnWake(); }

void BidiCall::Cancelled() {
  if (const std::shared_ptr<BidiSession> held = session(); held != nullptr) held->OnCancelled();
}

void BidiCall::Read() {
  Hold();
  stream_.Read(&message_, &read_tag_);
}

void BidiCall::Write(const grpc::ByteBuffer& message) { stream_.Write(message, &written_tag_); }

void BidiCall::WakeAt(absl::Time time) {
  Hold();
  alarm_.Set(queue_, absl::ToChronoTime(time), &woken_tag_);
}

}  // namespace vecino::rpc
