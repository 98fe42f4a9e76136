// One call whose reply is a stream of messages.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/message_stream.h"
#include "server/rpc/server_call.h"

namespace vecino::rpc {

// A stream's wait for something to send, in the hands of whoever may end it; it outlives the call.
// Thread safety: all methods are safe from any thread; none blocks.
class StreamWait {
 public:
  // What woke it before is forgotten.
  void Begin();
  // From here on the first Wake calls `resume`, once. False, and `resume` is dropped, when one came
  // since Begin.
  bool Arm(std::function<void()> resume);
  void Wake();

 private:
  absl::Mutex mutex_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> resume_ ABSL_GUARDED_BY(mutex_);
};

// Besides what ServerCall says: between `received` and Finish there is at most one message on its
// way, `Write → written`, and one of a worker, gRPC and the wait for the stream has the call.
class StreamCall final : public ServerCall {
 public:
  // Asks `service` for a call of `method` on `queue`. `tag_data` is for the owner.
  static void Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                      grpc::ServerCompletionQueue* queue);

  // For whoever has the call: null before the stream is opened.
  const std::unique_ptr<MessageStream>& stream() const { return stream_; }
  void set_stream(std::unique_ptr<MessageStream> stream) { stream_ = std::move(stream); }

  // For the worker that has the call, once the stream is opened: whether there is something to do
  // at once, be it that the call is to stop. If not, the worker lets go of the call, which others
  // may have before this returns, and `resume` is called once, from any thread, when there is.
  bool Ready(std::function<void()> resume);

  // Sends one message. Not before OnWritten for the one before, and not after Finish.
  void Write(const grpc::ByteBuffer& message);
  void Finish(grpc::Status status) override;

  // Instead of Finish when the queue is shut down, and nothing may be begun on it.
  void GiveUp() { Release(); }

  // From any thread while the call is not finished: its stop token is requested, so that it ends
  // soon. `ending` says that it was the server's wish.
  void End();
  bool ending() const { return ending_.load(); }

 private:
  using ServerCall::ServerCall;
  bool Received() override { return owner_->OnReceived(this); }
  bool Written(bool ok) override { return owner_->OnWritten(this, ok); }
  void Cancelled() override { wait_->Wake(); }

  const std::shared_ptr<StreamWait> wait_ = std::make_shared<StreamWait>();
  std::unique_ptr<MessageStream> stream_;
  std::atomic<bool> ending_ = false;
  grpc::ServerAsyncWriter<grpc::ByteBuffer> writer_{&context_};
};

}  // namespace vecino::rpc
