// One unary call of gRPC's asynchronous API, from the wish to receive one to its end.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/async_unary_call.h>

#include <deque>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "server/engine/types.h"

namespace vecino::rpc {

// A service known by its descriptor whose methods take and give bytes. It stands in for the classes
// that protoc generates: they would answer INTERNAL to a request that cannot be parsed, parse on
// the network threads, and need a class for every method.
class RawService final : public grpc::Service {
 public:
  explicit RawService(const google::protobuf::ServiceDescriptor& descriptor);

  void RequestCall(int method, grpc::ServerContext* context, grpc::ByteBuffer* request,
                   grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer,
                   grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncUnary(method, context, request, writer, queue, queue, tag);
  }

 private:
  std::deque<std::string> paths_;  // gRPC keeps pointers into it
};

class UnaryCall;

// What calls report to. The methods are called on the thread of the call's completion queue.
class CallOwner {
 public:
  virtual ~CallOwner() = default;
  // A request came; the owner sees to it that Finish is called exactly once, from any thread, or
  // Abandon on this one.
  virtual void OnReceived(UnaryCall* call) = 0;
  // The reply was written or cannot be any more.
  virtual void OnFinished(UnaryCall* call) = 0;
};

// Lives on its own: it is deleted by the event that ends it.
//
//   requested → received → (handler runs) → Finish → finished ┐
//                     └──────────── done (ended or cancelled) ┴→ deleted
//
// `done` may come before Finish: then the caller has gone and the stop token says so. A call that
// is never received (the server stops) is deleted at once.
class UnaryCall {
 public:
  // Asks `service` for a call of `method` on `queue`. `tag_data` is for the owner.
  static void Request(CallOwner* owner, RawService* service, int method, void* tag_data,
                      grpc::ServerCompletionQueue* queue);

  // One event of the completion queue.
  static void HandleEvent(void* tag, bool ok);

  const grpc::ByteBuffer& request() const { return request_; }
  grpc::ServerCompletionQueue* queue() const { return queue_; }
  RawService* service() const { return service_; }
  int method() const { return method_; }
  void* tag_data() const { return tag_data_; }
  absl::Time received() const { return received_; }
  std::string peer() const { return context_.peer(); }
  // Valid until Finish.
  engine::CallContext engine_context() const;
  // The status given to Finish, for OnFinished.
  const grpc::Status& status() const { return status_; }

  // Sends the reply, or the status when it is not OK. The call may be gone when this returns.
  void Finish(const grpc::ByteBuffer& reply, grpc::Status status);

  // In place of Finish when the queue is shutting down. Call it in OnReceived only.
  void Abandon();

 private:
  enum class Event { kReceived, kDone, kFinished };
  struct Tag {
    UnaryCall* call;
    Event event;
  };

  UnaryCall(CallOwner* owner, RawService* service, int method, void* tag_data,
            grpc::ServerCompletionQueue* queue);

  void OnEvent(Event event, bool ok);
  void DeleteWhenOver();

  CallOwner* const owner_;
  RawService* const service_;
  const int method_;
  void* const tag_data_;
  grpc::ServerCompletionQueue* const queue_;
  Tag received_tag_{this, Event::kReceived};
  Tag done_tag_{this, Event::kDone};
  Tag finished_tag_{this, Event::kFinished};

  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer_{&context_};
  std::stop_source stop_;
  absl::Time received_;
  absl::Time deadline_;
  grpc::Status status_;

  // Touched by the queue's thread only.
  bool done_ = false;
  bool finished_ = false;
};

}  // namespace vecino::rpc
