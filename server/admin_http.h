// The admin port: HTTP for monitoring.
//
//   GET /metrics   Prometheus text exposition
//   GET /healthz   200 while the process runs
//   GET /readyz    200 while it serves, 503 with the reason while it loads or stops
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace vecino {

struct AdminCallbacks {
  // Called from the port's own threads, until the object is destroyed.
  std::function<std::string()> metrics;
  // Empty: ready; otherwise why not, such as "loading".
  std::function<std::string()> not_ready;
};

// Thread safety: all methods are safe from any thread.
class AdminHttp {
 public:
  // Listens on `address` (HOST:PORT; port 0 takes a free one). FAILED_PRECONDITION in plain words
  // when it cannot.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(const std::string& address,
                                                          AdminCallbacks callbacks);
  // Stops listening and waits for requests under way.
  virtual ~AdminHttp() = default;
  virtual int port() const = 0;
};

}  // namespace vecino
