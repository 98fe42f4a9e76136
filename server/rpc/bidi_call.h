// One call that streams both ways.
#pragma once

#include <grpcpp/alarm.h>

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/bidi_session.h"
#include "server/rpc/server_call.h"

namespace vecino::rpc {

// Passes what happens to the call on to its session, and what the session wants on to gRPC. Besides
// what ServerCall says: an alarm or a read that is under way when the call is finished ends by
// itself, and the call lives until it has.
class BidiCall final : public ServerCall, private BidiPort {
 public:
  using Runner = std::function<bool(std::function<void()> work)>;

  // Asks `service` for a call of `method` on `queue`. `tag_data` is for the owner.
  static void Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                      grpc::ServerCompletionQueue* queue);

  // Gives the call to `session`, which finishes it. `runner` has a worker run work. Once, after
  // `received`.
  void Converse(std::shared_ptr<BidiSession> session, Runner runner);
  // Without a session: ends it with an error.
  void Finish(grpc::Status status) override;

  // Null before Converse.
  std::shared_ptr<BidiSession> session() const;

 private:
  using ServerCall::ServerCall;
  bool Received() override { return owner_->OnReceived(this); }
  bool Written(bool ok) override;
  void Read(bool ok) override;
  void Woken() override;
  void Cancelled() override;

  void Read() override;
  void Write(const grpc::ByteBuffer& message) override;
  void WakeAt(absl::Time time) override;
  bool Run(std::function<void()> work) override { return runner_(std::move(work)); }
  void Finish(const absl::Status& status) override;
  engine::CallContext context() const override { return engine_context(); }

  Runner runner_;
  grpc::ByteBuffer message_;  // that is being read
  grpc::Alarm alarm_;
  Tag read_tag_{this, Event::kRead};
  Tag woken_tag_{this, Event::kWoken};
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> stream_{&context_};

  mutable absl::Mutex session_mutex_;
  std::shared_ptr<BidiSession> session_ ABSL_GUARDED_BY(session_mutex_);
};

}  // namespace vecino::rpc
