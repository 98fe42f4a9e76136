// A call and a reply of the HTTP API, between what is HTTP's and what is not.
#pragma once

#include <string>
#include <string_view>

namespace vecino::rpc {

struct HttpReply {
  int status = 200;
  std::string body;             // JSON
  int retry_after_seconds = 0;  // 0: repeating the request as it is does not help
};

// A call of an RPC. Views of what whoever makes the call keeps until it has returned.
struct HttpCall {
  std::string_view path;  // such as `/v1/SearchService/SearchDocuments`
  std::string_view body;  // JSON
  // Headers, empty when they are absent.
  std::string_view grpc_timeout;     // Grpc-Timeout
  std::string_view request_timeout;  // X-Request-Timeout
};

}  // namespace vecino::rpc
