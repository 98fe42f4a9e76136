#include "server/rpc/unary_call.h"

#include <utility>

namespace vecino::rpc {

void UnaryCall::Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                        grpc::ServerCompletionQueue* queue) {
  auto* call = new UnaryCall(owner, service, method, tag_data, queue);
  service->RequestCall(method, &call->context_, &call->request_, &call->writer_, queue,
                       &call->received_tag_);
}

void UnaryCall::Finish(const grpc::ByteBuffer& reply, grpc::Status status) {
  status_ = std::move(status);
  if (status_.ok()) {
    writer_.Finish(reply, status_, &finished_tag_);
  } else {
    writer_.FinishWithError(status_, &finished_tag_);
  }
}

}  // namespace vecino::rpc
