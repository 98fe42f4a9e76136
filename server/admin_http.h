// The admin port: HTTP for monitoring, OpenAI's embeddings API, and the RPCs in JSON.
//
//   GET /metrics         Prometheus text exposition
//   GET /healthz         200 while the process runs
//   GET /readyz          200 while it serves, 503 with the reason while it loads or stops
//   POST /v1/embeddings  OpenAI's; at most kMostEmbeddings at once, so that probes do not wait
//   POST /v1/rerank      Jina's and Cohere's; counted with those
//   GET /v1/models       OpenAI's
//   POST /v1/{Service}/{Method}  an RPC in JSON; at most kMostCalls at once
//   GET /openapi.json    what these take and return
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/rpc/http_reply.h"

namespace vecino {

inline constexpr int kMostEmbeddings = 8;                 // requests, those for scores among them
inline constexpr size_t kMostEmbeddingsBytes = 16 << 20;  // of one request's body

inline constexpr int kMostCalls = 16;  // RPCs
// Of the bodies of RPCs that are read or run, summed; one body may always take its own limit.
inline constexpr size_t kMostCallsBytes = 64 << 20;

// The RPCs. Called from the port's own threads, until the object is destroyed. They do not throw.
struct CallCallbacks {
  size_t max_body_bytes = 16 << 20;  // of one request
  // May take as long as the call's headers allow.
  std::function<rpc::HttpReply(const rpc::HttpCall&)> call;
  // In the form of their errors, that a request to `path` was refused with this status of HTTP.
  std::function<rpc::HttpReply(std::string_view path, int status, std::string_view message)>
      refusal;
  // An OpenAPI document.
  std::function<std::string()> description;
};

// Called from the port's own threads, until the object is destroyed. They do not throw.
struct ApiCallbacks {
  // May take a minute.
  std::function<rpc::HttpReply(std::string_view body)> embeddings, rerank;
  std::function<rpc::HttpReply()> models;
  // In the API's form, that a request to `path` was refused with this status of HTTP.
  std::function<rpc::HttpReply(std::string_view path, int status, std::string_view message)>
      refusal;
  // Without: the paths of the RPCs are not there.
  std::optional<CallCallbacks> calls = std::nullopt;
};

struct AdminCallbacks {
  // Called from the port's own threads, until the object is destroyed.
  std::function<std::string()> metrics;
  // Empty: ready; otherwise why not, such as "loading".
  std::function<std::string()> not_ready;
  // Without: the paths of the API are not there.
  std::optional<ApiCallbacks> api = std::nullopt;
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
