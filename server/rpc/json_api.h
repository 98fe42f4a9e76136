// Every unary RPC over HTTP, in JSON: POST /v1/{Service}/{Method}. The methods come from the
// contract's descriptors, so that a new one is here by itself. The paths, how many requests run at
// once, and what may be sent are the admin port's (server/call_routes.h); docs/http.md says it all.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "server/rpc/async_server.h"
#include "server/rpc/http_reply.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread. None throws.
class JsonApi {
 public:
  // `server` must outlive it. Requests may take `max_message_bytes` as messages, as by gRPC.
  JsonApi(AsyncServer* server, size_t max_message_bytes);

  // The reply to a call, or its error as google.rpc.Status. Blocks until the call is done: at most
  // to the deadline that its headers set, kDefaultTimeout without.
  HttpReply Call(const HttpCall& call);

  // That a request to `path` was refused with this status of HTTP before it could be a call. 429
  // counts as a call that failed.
  HttpReply Refusal(std::string_view path, int status, std::string_view message);

 private:
  using Method = google::protobuf::MethodDescriptor;

  // NOT_FOUND in words that help.
  absl::Status NoSuchMethod(std::string_view path) const;
  absl::Status TryCall(const Method& method, const HttpCall& call, std::string* reply);

  AsyncServer& server_;
  const size_t max_message_bytes_;
  std::map<std::string, const Method*, std::less<>> methods_;  // by HTTP's path
};

// Where a method is: `/v1/SearchService/SearchDocuments`.
std::string HttpPath(const google::protobuf::MethodDescriptor& method);

}  // namespace vecino::rpc
