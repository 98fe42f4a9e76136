#include "server/api_routes.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vecino {
namespace {

constexpr const char* kEmbeddings = "/v1/embeddings";
constexpr const char* kRerank = "/v1/rerank";
constexpr const char* kModels = "/v1/models";
constexpr const char* kDescription = "/openapi.json";
// A dot would not match the ends of lines that a path may hold.
constexpr const char* kAnyPath = "[\\s\\S]*";

bool TakesPost(std::string_view path) { return path == kEmbeddings || path == kRerank; }

}  // namespace

ApiRoutes::ApiRoutes(ApiCallbacks callbacks) : callbacks_(std::move(callbacks)) {
  if (callbacks_.calls.has_value()) calls_.emplace(*callbacks_.calls, &bodies_);
}

bool ApiRoutes::IsCall(const httplib::Request& request) const {
  return calls_.has_value() && CallRoutes::Owns(request.path);
}

bool ApiRoutes::TakesGet(std::string_view path) const {
  return path == kModels || path == "/metrics" || path == "/healthz" || path == "/readyz" ||
         (calls_.has_value() && path == kDescription);
}

void ApiRoutes::Refuse(const httplib::Request& request, httplib::Response& response, int status,
                       const std::string& message) const {
  const bool others = calls_.has_value() && !request.path.starts_with("/v1/");
  const auto& refusal = others ? callbacks_.calls->refusal : callbacks_.refusal;
  Send(refusal(request.path, status, message), response);
}

void ApiRoutes::Compute(const httplib::Request& request, httplib::Response& response,
                        const httplib::ContentReader& reader) {
  const bool rerank = request.path == kRerank;
  if (!HasLength(request)) {
    return Refuse(request, response, 411, "send the body whole, as JSON, with a Content-Length");
  }
  const std::string too_large =
      absl::StrCat("the body takes more than ", kMostEmbeddingsBytes, " bytes; split `",
                   rerank ? "documents" : "input", "` into several requests");
  if (LengthOf(request) > kMostEmbeddingsBytes) {
    bodies_.Discard(request, reader);
    return Refuse(request, response, 413, too_large);
  }
  // Before the body is read: so bodies are bounded, too, and threads that wait for them.
  std::shared_ptr<void> slot = embeddings_.Take();
  if (slot == nullptr) {
    bodies_.Discard(request, reader);
    return Refuse(
        request, response, 429,
        absl::StrCat(kMostEmbeddings,
                     " embedding and rerank requests run, the most there may be over HTTP; try "
                     "again, or send more texts in each"));
  }
  std::string body;
  const auto fault = bodies_.Read(request, reader, kMostEmbeddingsBytes, too_large, &body);
  if (fault.has_value()) return Refuse(request, response, fault->status, fault->message);
  rpc::HttpReply reply = rerank ? callbacks_.rerank(body) : callbacks_.embeddings(body);
  if (reply.status != 200) return Send(reply, response);
  bodies_.SendInPieces(std::move(reply.body), std::move(slot), response);
}

void ApiRoutes::Add(httplib::Server& server) {
  using httplib::ContentReader, httplib::Request, httplib::Response;
  // Ours are the limits: of a longer body httplib would read all there is before it says so.
  server.set_payload_max_length(SIZE_MAX);
  for (const char* const path : {kEmbeddings, kRerank}) {
    server.Post(path, [this](const Request& request, Response& response,
                             const ContentReader& reader) { Compute(request, response, reader); });
    server.Get(path, [](const Request&, Response& response) { response.status = 405; });
  }
  server.Get(kModels,
             [this](const Request&, Response& response) { Send(callbacks_.models(), response); });
  const auto none = [this](const Request& request, Response& response,
                           const ContentReader& reader) {
    if (IsCall(request)) return calls_->Handle(request, response, reader);
    bodies_.Discard(request, reader);
    response.status = TakesPost(request.path) || TakesGet(request.path) ? 405 : 404;
  };
  server.Post(kAnyPath, none);
  server.Put(kAnyPath, none);
  server.Patch(kAnyPath, none);
  server.Delete(kAnyPath, none);
  server.set_pre_routing_handler([](const Request& request, Response& response) {
    // httplib would cut every reply, with the status of a whole one. The object is not const.
    const_cast<Request&>(request).ranges.clear();
    // Takes a body for httplib, without a limit.
    if (request.method != "PRI") return httplib::Server::HandlerResponse::Unhandled;
    response.status = 404;
    return httplib::Server::HandlerResponse::Handled;
  });
  if (calls_.has_value()) {
    server.Get(kDescription, [this](const Request&, Response& response) {
      // A caller who reads slowly keeps a thread.
      auto slot = descriptions_.Take();
      if (slot == nullptr) {
        return Send(callbacks_.calls->refusal(kDescription, 429, "too many read it; try again"),
                    response);
      }
      bodies_.SendInPieces(callbacks_.calls->description(), std::move(slot), response);
    });
  }
  server.set_error_handler(
      httplib::Server::HandlerWithResponse([this](const Request& request, Response& response) {
        if (!response.body.empty()) {
          return httplib::Server::HandlerResponse::Unhandled;
        }
        Explain(request, response);
        return httplib::Server::HandlerResponse::Handled;
      }));
}

void ApiRoutes::Explain(const httplib::Request& request, httplib::Response& response) const {
  if (IsCall(request)) return calls_->Explain(request, response);
  const bool known = TakesPost(request.path) || TakesGet(request.path);
  if (response.status == 404 && known) response.status = 405;  // OPTIONS, HEAD
  std::string message = absl::StrCat("HTTP status ", response.status);
  if (response.status == 404) {
    message = absl::StrCat("there is no ", request.path, "; there are POST ", kEmbeddings, " and ",
                           kRerank, " and GET ", kModels, ", /metrics, /healthz and /readyz");
    if (calls_.has_value()) {
      absl::StrAppend(&message, ", and POST /v1/{Service}/{Method}, which GET ", kDescription,
                      " describes");
    }
  } else if (response.status == 405) {
    response.set_header("Allow", TakesGet(request.path) ? "GET" : "POST");
    message = absl::StrCat(request.path, " does not take ", request.method);
  }
  Refuse(request, response, response.status, message);
}

}  // namespace vecino
