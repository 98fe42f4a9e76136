#include "server/rpc/server_call.h"

#include <grpc/grpc.h>

#include <chrono>

#include "absl/time/clock.h"

namespace vecino::rpc {

RawService::RawService(const std::vector<Method>& methods) {
  for (size_t i = 0; i < methods.size(); ++i) {
    paths_.push_back(methods[i].path);
    AddMethod(new grpc::internal::RpcServiceMethod(
        paths_.back().c_str(),
        methods[i].takes_stream ? grpc::internal::RpcMethod::BIDI_STREAMING
        : methods[i].streams    ? grpc::internal::RpcMethod::SERVER_STREAMING
                                : grpc::internal::RpcMethod::NORMAL_RPC,
        nullptr));
    MarkMethodRaw(static_cast<int>(i));
  }
}

ServerCall::ServerCall(CallOwner* owner, RawService* service, int method, void* tag_data,
                       grpc::ServerCompletionQueue* queue)
    : owner_(owner), service_(service), method_(method), tag_data_(tag_data), queue_(queue) {
  context_.AsyncNotifyWhenDone(&done_tag_);
}

void ServerCall::HandleEvent(void* tag, bool ok) {
  Tag* event = static_cast<Tag*>(tag);
  event->call->OnEvent(event->event, ok);
}

engine::CallContext ServerCall::engine_context() const {
  return {.deadline = deadline_, .stop = stop_.get_token()};
}

void ServerCall::OnEvent(Event event, bool ok) {
  switch (event) {
    case Event::kReceived: {
      if (!ok) {
        delete this;  // the server stopped before a call came; `done` is never told then
        return;
      }
      received_ = absl::Now();
      const auto deadline = context_.deadline();
      // gRPC says "no deadline" with the greatest time there is, which absl cannot hold as it is.
      deadline_ = deadline >= std::chrono::system_clock::time_point::max() - std::chrono::hours(24)
                      ? absl::InfiniteFuture()
                      : absl::FromChrono(deadline);
      // Nothing was begun that would say `finished`, but `done` came or comes all the same.
      if (!Received()) Release();
      return;
    }
    case Event::kDone:
      if (context_.IsCancelled()) {
        stop_.request_stop();
        Cancelled();
      }
      Release();
      return;
    case Event::kRead:
      Read(ok);
      Release();
      return;
    case Event::kWritten:
      if (!Written(ok)) Release();
      return;
    case Event::kWoken:
      Woken();
      Release();
      return;
    case Event::kFinished:
      owner_->OnFinished(this);
      Release();
      return;
  }
}

void ServerCall::CutOff(const char* why) {
  // ServerContext::TryCancel does the same and can say CANCELLED only, which reads as if the caller
  // had done it. gRPC sends the status past the messages that wait for the caller's window.
  grpc_call_cancel_with_status(context_.c_call(), GRPC_STATUS_UNAVAILABLE, why, nullptr);
}

void ServerCall::Release() {
  if (open_.fetch_sub(1) == 1) delete this;
}

}  // namespace vecino::rpc
