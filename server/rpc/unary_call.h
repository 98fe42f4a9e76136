// One call with one reply.
#pragma once

#include "server/rpc/server_call.h"

namespace vecino::rpc {

class UnaryCall final : public ServerCall {
 public:
  // Asks `service` for a call of `method` on `queue`. `tag_data` is for the owner.
  static void Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                      grpc::ServerCompletionQueue* queue);

  // Sends the reply, or the status when it is not OK. The call may be gone when this returns.
  void Finish(const grpc::ByteBuffer& reply, grpc::Status status);
  // With an error.
  void Finish(grpc::Status status) override { Finish({}, std::move(status)); }

 private:
  using ServerCall::ServerCall;
  bool Received() override { return owner_->OnReceived(this); }

  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer_{&context_};
};

}  // namespace vecino::rpc
