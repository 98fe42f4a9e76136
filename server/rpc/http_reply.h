// A reply of the HTTP API, before it is HTTP's.
#pragma once

#include <string>

namespace vecino::rpc {

struct HttpReply {
  int status = 200;
  std::string body;             // JSON
  int retry_after_seconds = 0;  // 0: repeating the request as it is does not help
};

}  // namespace vecino::rpc
