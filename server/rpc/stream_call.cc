#include "server/rpc/stream_call.h"

#include <utility>

namespace vecino::rpc {

void StreamCall::Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                         grpc::ServerCompletionQueue* queue) {
  auto* call = new StreamCall(owner, service, method, tag_data, queue);
  service->RequestStream(method, &call->context_, &call->request_, &call->writer_, queue,
                         &call->received_tag_);
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
}

}  // namespace vecino::rpc
