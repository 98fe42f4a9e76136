#include "server/rpc/stream_call.h"

#include <utility>

namespace vecino::rpc {

void StreamWait::Begin() {
  absl::MutexLock lock(&mutex_);
  woken_ = false;
}

bool StreamWait::Arm(std::function<void()> resume) {
  absl::MutexLock lock(&mutex_);
  if (woken_) return false;
  resume_ = std::move(resume);
  return true;
}

void StreamWait::Wake() {
  std::function<void()> resume;
  {
    absl::MutexLock lock(&mutex_);
    woken_ = true;
    resume.swap(resume_);
  }
  if (resume) resume();
}

void StreamCall::Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                         grpc::ServerCompletionQueue* queue) {
  auto* call = new StreamCall(owner, service, method, tag_data, queue);
  service->RequestStream(method, &call->context_, &call->request_, &call->writer_, queue,
                         &call->received_tag_);
}

bool StreamCall::Ready(std::function<void()> resume) {
  wait_->Begin();
  if (stream_->Ready([wait = wait_] { wait->Wake(); })) return true;
  // One that was asked for before Begin has been forgotten; any later one wakes.
  if (stop_.stop_requested()) return true;
  return !wait_->Arm(std::move(resume));
}

void StreamCall::Write(const grpc::ByteBuffer& message) { writer_.Write(message, &written_tag_); }

void StreamCall::Finish(grpc::Status status) {
  stream_ = nullptr;  // files and the like are given back before the caller hears of the end
  status_ = std::move(status);
  writer_.Finish(status_, &finished_tag_);
}

void StreamCall::End() {
  ending_.store(true);
  stop_.request_stop();
  wait_->Wake();
}

}  // namespace vecino::rpc
