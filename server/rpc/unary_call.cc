#include "server/rpc/unary_call.h"

#include <chrono>
#include <utility>

#include "server/rpc/text.h"

namespace vecino::rpc {

RawService::RawService(const google::protobuf::ServiceDescriptor& descriptor) {
  for (int i = 0; i < descriptor.method_count(); ++i) {
    paths_.push_back(Concat("/", descriptor.full_name(), "/", descriptor.method(i)->name()));
    AddMethod(new grpc::internal::RpcServiceMethod(paths_.back().c_str(),
                                                   grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
    MarkMethodRaw(i);
  }
}

UnaryCall::UnaryCall(CallOwner* owner, RawService* service, int method, void* tag_data,
                     grpc::ServerCompletionQueue* queue)
    : owner_(owner), service_(service), method_(method), tag_data_(tag_data), queue_(queue) {}

void UnaryCall::Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                        grpc::ServerCompletionQueue* queue) {
  auto* call = new UnaryCall(owner, service, method, tag_data, queue);
  call->context_.AsyncNotifyWhenDone(&call->done_tag_);
  service->RequestCall(method, &call->context_, &call->request_, &call->writer_, queue,
                       &call->received_tag_);
}

void UnaryCall::HandleEvent(void* tag, bool ok) {
  Tag* event = static_cast<Tag*>(tag);
  event->call->OnEvent(event->event, ok);
}

engine::CallContext UnaryCall::engine_context() const {
  return {.deadline = deadline_, .stop = stop_.get_token()};
}

void UnaryCall::Finish(const grpc::ByteBuffer& reply, grpc::Status status) {
  status_ = std::move(status);
  if (status_.ok()) {
    writer_.Finish(reply, status_, &finished_tag_);
  } else {
    writer_.FinishWithError(status_, &finished_tag_);
  }
}

void UnaryCall::Abandon() {
  // Nothing was begun that would say `finished`; `done` comes all the same.
  finished_ = true;
}

void UnaryCall::OnEvent(Event event, bool ok) {
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
      owner_->OnReceived(this);
      return;
    }
    case Event::kDone:
      done_ = true;
      if (context_.IsCancelled()) stop_.request_stop();
      DeleteWhenOver();
      return;
    case Event::kFinished:
      finished_ = true;
      owner_->OnFinished(this);
      DeleteWhenOver();
      return;
  }
}

void UnaryCall::DeleteWhenOver() {
  if (done_ && finished_) delete this;
}

}  // namespace vecino::rpc
