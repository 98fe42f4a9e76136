// One call whose reply is a stream of messages.
#pragma once

#include <atomic>
#include <memory>

#include "server/rpc/message_stream.h"
#include "server/rpc/server_call.h"

namespace vecino::rpc {

// Besides what ServerCall says: between `received` and Finish there is at most one message on its
// way, `Write → written`, and either a worker or gRPC has the call, never both.
class StreamCall final : public ServerCall {
 public:
  // Asks `service` for a call of `method` on `queue`. `tag_data` is for the owner.
  static void Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                      grpc::ServerCompletionQueue* queue);

  // For whoever has the call: null before the stream is opened.
  const std::unique_ptr<MessageStream>& stream() const { return stream_; }
  void set_stream(std::unique_ptr<MessageStream> stream) { stream_ = std::move(stream); }

  // Sends one message. Not before OnWritten for the one before, and not after Finish.
  void Write(const grpc::ByteBuffer& message);
  void Finish(grpc::Status status) override;

  // From any thread while the call is not finished: its stop token is requested, so that it ends
  // soon. `ending` says that it was the server's wish.
  void End();
  bool ending() const { return ending_.load(); }
  // The same, also for a caller that does not read: what is on its way is given up.
  void Cancel() { context_.TryCancel(); }

 private:
  using ServerCall::ServerCall;
  bool Received() override { return owner_->OnReceived(this); }
  bool Written(bool ok) override { return owner_->OnWritten(this, ok); }

  std::unique_ptr<MessageStream> stream_;
  std::atomic<bool> ending_ = false;
  grpc::ServerAsyncWriter<grpc::ByteBuffer> writer_{&context_};
};

}  // namespace vecino::rpc
