// What every call of gRPC's asynchronous API has in common, from the wish to receive one to its
// end.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/types.h"

namespace vecino::rpc {

// A service known by its methods' paths, which take and give bytes. It stands in for the classes
// that protoc generates: they would answer INTERNAL to a request that cannot be parsed, parse on
// the network threads, and need a class for every method. Methods are unary, stream their replies,
// or stream both ways.
class RawService final : public grpc::Service {
 public:
  struct Method {
    std::string path;           // such as `/vecino.v1.SearchService/SearchDocuments`
    bool streams = false;       // its replies
    bool takes_stream = false;  // of requests; `streams` too then
  };
  explicit RawService(const std::vector<Method>& methods);

  void RequestCall(int method, grpc::ServerContext* context, grpc::ByteBuffer* request,
                   grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer,
                   grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncUnary(method, context, request, writer, queue, queue, tag);
  }
  void RequestStream(int method, grpc::ServerContext* context, grpc::ByteBuffer* request,
                     grpc::ServerAsyncWriter<grpc::ByteBuffer>* writer,
                     grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncServerStreaming(method, context, request, writer, queue, queue, tag);
  }
  void RequestBidi(int method, grpc::ServerContext* context,
                   grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>* stream,
                   grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncBidiStreaming(method, context, stream, queue, queue, tag);
  }

 private:
  std::deque<std::string> paths_;  // gRPC keeps pointers into it
};

class BidiCall;
class ServerCall;
class StreamCall;
class UnaryCall;

// What calls report to. The methods are called by whoever takes events from the call's completion
// queue.
class CallOwner {
 public:
  virtual ~CallOwner() = default;
  // A request came; the owner returns true and sees to it that the call's Finish is called exactly
  // once, from any thread. Or false, when the queue is shutting down and nothing may be begun on
  // it.
  virtual bool OnReceived(UnaryCall* call) = 0;
  virtual bool OnReceived(StreamCall* call) = 0;
  virtual bool OnReceived(BidiCall* call) = 0;
  // The message that was written last has left, or (`ok` false) cannot any more. The owner writes
  // another or calls Finish; otherwise as OnReceived.
  virtual bool OnWritten(StreamCall* call, bool ok) = 0;
  // The last of the reply was written or cannot be any more.
  virtual void OnFinished(ServerCall* call) = 0;
};

// Lives on its own: it is deleted by the event that ends it.
//
//   requested → received → (handler runs) → Finish → finished ┐
//                     └──────────── done (ended or cancelled) ┴→ deleted
//
// `done` may come before Finish: then the caller has gone and the stop token says so. A call that
// is never received (the server stops) is deleted at once.
class ServerCall {
 public:
  virtual ~ServerCall() = default;
  ServerCall(const ServerCall&) = delete;
  ServerCall& operator=(const ServerCall&) = delete;

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

  // Ends the call with an error, or a stream that was sent whole with OK. The call may be gone when
  // this returns.
  virtual void Finish(grpc::Status status) = 0;

  // Because the server stops, from any thread while the call is not finished: the caller is told
  // UNAVAILABLE with `why` at once, also one that does not read, and what is on its way to it is
  // given up. Finish must follow all the same.
  void CutOff(const char* why);

 protected:
  enum class Event { kReceived, kDone, kRead, kWritten, kWoken, kFinished };
  struct Tag {
    ServerCall* call;
    Event event;
  };

  ServerCall(CallOwner* owner, RawService* service, int method, void* tag_data,
             grpc::ServerCompletionQueue* queue);

  // What the owner returned.
  virtual bool Received() = 0;
  virtual bool Written(bool) { return true; }
  // Calls that read or set an alarm Hold themselves for each, which its event releases.
  virtual void Read(bool) {}
  virtual void Woken() {}
  // The caller has gone, and the stop token has just been told so.
  virtual void Cancelled() {}
  void Hold() { open_.fetch_add(1); }
  // One thing less is to come; the last one deletes the call.
  void Release();

  CallOwner* const owner_;
  RawService* const service_;
  const int method_;
  void* const tag_data_;
  grpc::ServerCompletionQueue* const queue_;
  Tag received_tag_{this, Event::kReceived};
  Tag done_tag_{this, Event::kDone};
  Tag written_tag_{this, Event::kWritten};
  Tag finished_tag_{this, Event::kFinished};

  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  std::stop_source stop_;
  grpc::Status status_;

 private:
  void OnEvent(Event event, bool ok);

  absl::Time received_;
  absl::Time deadline_;
  std::atomic<int> open_{2};  // `done`, `finished`, and what is held
};

}  // namespace vecino::rpc
