// A client of grpc.health.v1 (and of any other method) in terms of bytes: the generated classes of
// the health service are not among Debian's packages.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vecino::rpc {

inline grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

inline std::string FromBuffer(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return bytes;
  for (const auto& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// One unary call with bytes.
inline grpc::Status CallBytes(const std::shared_ptr<grpc::Channel>& channel,
                              const std::string& path, const std::string& request,
                              std::string* reply, int seconds = 10) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(seconds));
  const grpc::ByteBuffer in = ToBuffer(request);
  grpc::ByteBuffer out;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, path, {}, &in, &out,
                 [&](grpc::Status status) { done.set_value(std::move(status)); });
  grpc::Status status = done.get_future().get();
  *reply = FromBuffer(out);
  return status;
}

enum Health { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

inline std::string HealthRequest(const std::string& service) {
  return service.empty() ? ""
                         : "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
}

inline Health HealthIn(const std::string& reply) {
  return reply.size() == 2 && reply[0] == 8 ? static_cast<Health>(reply[1]) : kUnknown;
}

// kServiceUnknown for NOT_FOUND, kUnknown when the call fails otherwise.
inline Health CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                          const std::string& service) {
  std::string reply;
  const grpc::Status status =
      CallBytes(channel, "/grpc.health.v1.Health/Check", HealthRequest(service), &reply);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return kServiceUnknown;
  return status.ok() ? HealthIn(reply) : kUnknown;
}

// One request, many replies.
class ByteStream {
 public:
  ByteStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
             const std::string& request)
      : stub_(channel) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = stub_.PrepareCall(&context_, path, &queue_);
    stream_->StartCall(this);
    Await();
    stream_->WriteLast(ToBuffer(request), {}, this);
    Await();
  }
  ~ByteStream() {
    context_.TryCancel();
    grpc::Status status;
    stream_->Finish(&status, this);
    Await();
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  // Blocks for the next reply; nullopt when the stream has ended.
  std::optional<std::string> Next() {
    grpc::ByteBuffer reply;
    stream_->Read(&reply, this);
    if (!Await()) return std::nullopt;
    return FromBuffer(reply);
  }

 private:
  bool Await() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

// The stream of Watch.
class HealthWatch {
 public:
  HealthWatch(const std::shared_ptr<grpc::Channel>& channel, const std::string& service)
      : stream_(channel, "/grpc.health.v1.Health/Watch", HealthRequest(service)) {}

  // Blocks for the next change; kUnknown when the stream has ended.
  Health Next() {
    const std::optional<std::string> reply = stream_.Next();
    return reply.has_value() ? HealthIn(*reply) : kUnknown;
  }

 private:
  ByteStream stream_;
};

}  // namespace vecino::rpc
