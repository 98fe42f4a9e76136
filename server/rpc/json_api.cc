#include "server/rpc/json_api.h"

#include <exception>
#include <new>
#include <utility>

#include "absl/time/clock.h"
#include "google/protobuf/arena.h"
#include "server/rpc/json_reply.h"
#include "server/rpc/json_request.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"
#include "server/rpc/timeout_header.h"
#include "server/rpc/wire.h"

namespace vecino::rpc {
namespace {

constexpr std::string_view kPeer = "http";
constexpr size_t kShownBytes = 200;  // of a path that a caller sent

// The bytes, without a copy.
grpc::ByteBuffer AsBuffer(std::string bytes) {
  auto* const owned = new std::string(std::move(bytes));
  const grpc::Slice slice(
      owned->data(), owned->size(), [](void* data) { delete static_cast<std::string*>(data); },
      owned);
  return grpc::ByteBuffer(&slice, 1);
}

// A message for a status that HTTP has and gRPC has not.
absl::Status RefusalStatus(int status, absl::string_view message) {
  switch (status) {
    case 404:
      return absl::NotFoundError(message);
    case 405:
      return absl::UnimplementedError(message);
    case 408:
      return absl::DeadlineExceededError(message);
    case 413:
      return NotRetryable(absl::ResourceExhaustedError(message));
    case 429:
      return absl::ResourceExhaustedError(message);
    case 503:
      return absl::UnavailableError(message);
    default:
      return status < 500 ? absl::InvalidArgumentError(message) : absl::InternalError(message);
  }
}

}  // namespace

std::string HttpPath(const google::protobuf::MethodDescriptor& method) {
  return Concat("/v1/", method.service()->name(), "/", method.name());
}

JsonApi::JsonApi(AsyncServer* server, size_t max_message_bytes)
    : server_(*server), max_message_bytes_(max_message_bytes) {
  for (const auto* service : Services()) {
    for (int i = 0; i < service->method_count(); ++i) {
      methods_.emplace(HttpPath(*service->method(i)), service->method(i));
    }
  }
}

absl::Status JsonApi::NoSuchMethod(std::string_view path) const {
  const std::string_view service = path.substr(0, path.find('/', std::string_view("/v1/").size()));
  std::string names;
  for (const auto& [known, method] : methods_) {
    if (!known.starts_with(Concat(service, "/"))) continue;
    names += Concat(names.empty() ? "" : ", ", method->name());
  }
  if (!names.empty()) {
    return absl::NotFoundError(Concat("there is no ", Printable(path, kShownBytes),
                                      "; the methods of ", service.substr(4), " are ", names));
  }
  for (const auto* known : Services()) {
    names += Concat(names.empty() ? "" : ", ", known->name());
  }
  return absl::NotFoundError(Concat("there is no ", Printable(path, kShownBytes),
                                    "; calls are POST /v1/{Service}/{Method}, and services are ",
                                    names));
}

absl::Status JsonApi::TryCall(const Method& method, const HttpCall& call, std::string* reply) {
  const auto timeout = ReadTimeout(call.grpc_timeout, call.request_timeout);
  if (!timeout.ok()) {
    server_.CountRefused(MethodPath(method), timeout.status(), kPeer);
    return timeout.status();
  }
  const auto body = [&](const rpc::Method& run, const engine::CallContext& context) {
    std::string wire;
    absl::Status status = ReadJson(*method.input_type(), call.body, max_message_bytes_, &wire);
    if (!status.ok()) return status;
    grpc::ByteBuffer bytes;
    status = run(AsBuffer(std::move(wire)), &bytes, context);
    if (!status.ok()) return status;
    google::protobuf::Arena arena;
    auto* const message = google::protobuf::MessageFactory::generated_factory()
                              ->GetPrototype(method.output_type())
                              ->New(&arena);
    if (!ReadMessage(bytes, message).ok()) {
      return absl::InternalError("the reply could not be read back");
    }
    return WriteJson(*message, reply);
  };
  return server_.RunDirect(MethodPath(method), absl::Now() + *timeout, kPeer, body);
}

HttpReply JsonApi::Call(const HttpCall& call) {
  try {
    const auto at = methods_.find(call.path);
    if (at == methods_.end()) return JsonError(NoSuchMethod(call.path));
    const Method& method = *at->second;
    if (method.client_streaming() || method.server_streaming()) {
      const absl::Status status = absl::UnimplementedError(
          Concat(method.full_name(), " is a stream; call it by gRPC, on the server's other port"));
      server_.CountRefused(MethodPath(method), status, kPeer);
      return JsonError(status);
    }
    HttpReply reply;
    const absl::Status status = TryCall(method, call, &reply.body);
    return status.ok() ? reply : JsonError(status);
  } catch (const std::bad_alloc&) {
    return {.status = 500, .body = "{\"code\":13,\"message\":\"the server has no memory left\"}"};
  }
}

HttpReply JsonApi::Refusal(std::string_view path, int status, std::string_view message) {
  const absl::Status why = RefusalStatus(status, ToAbsl(message));
  if (const auto at = methods_.find(path); at != methods_.end() && status == 429) {
    server_.CountRefused(MethodPath(*at->second), why, kPeer);
  }
  const bool method = path.starts_with("/v1/");
  HttpReply reply = status == 404 && method ? JsonError(NoSuchMethod(path)) : JsonError(why);
  reply.status = status;
  return reply;
}

}  // namespace vecino::rpc
