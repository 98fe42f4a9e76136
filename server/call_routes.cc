#include "server/call_routes.h"

#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace vecino {
namespace {

// `application/json`, perhaps with `; charset=utf-8`.
bool IsJson(const httplib::Request& request) {
  const std::string type = request.get_header_value("Content-Type");
  const size_t end = type.find(';');
  if (!absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(type.substr(0, end)),
                              "application/json")) {
    return false;
  }
  if (end == std::string::npos) return true;
  std::string parameter = absl::AsciiStrToLower(type.substr(end + 1));
  absl::StripAsciiWhitespace(&parameter);
  return parameter.empty() || parameter == "charset=utf-8" || parameter == "charset=\"utf-8\"";
}

}  // namespace

bool CallRoutes::Owns(std::string_view path) {
  constexpr std::string_view kPrefix = "/v1/";
  return path.starts_with(kPrefix) && path.size() > kPrefix.size() &&
         absl::ascii_isupper(static_cast<unsigned char>(path[kPrefix.size()]));
}

void CallRoutes::Refuse(const httplib::Request& request, httplib::Response& response, int status,
                        const std::string& message) const {
  Send(callbacks_.refusal(request.path, status, message), response);
}

void CallRoutes::Explain(const httplib::Request& request, httplib::Response& response) const {
  if (response.status == 404) response.status = 405;  // GET, OPTIONS, HEAD
  std::string message = absl::StrCat("HTTP status ", response.status);
  if (response.status == 405) {
    response.set_header("Allow", "POST");
    message = absl::StrCat("calls are POST with a body in JSON, not ", request.method);
  }
  Refuse(request, response, response.status, message);
}

void CallRoutes::Handle(const httplib::Request& request, httplib::Response& response,
                        const httplib::ContentReader& reader) {
  if (request.method != "POST") {
    bodies_.Discard(request, reader);
    response.status = 405;
    return Explain(request, response);
  }
  if (!HasLength(request)) {
    return Refuse(request, response, 411, "send the body whole, as JSON, with a Content-Length");
  }
  if (!IsJson(request)) {
    bodies_.Discard(request, reader);
    return Refuse(request, response, 415,
                  "the body must be JSON in UTF-8, with the header Content-Type: application/json");
  }
  const size_t most = callbacks_.max_body_bytes;
  const std::string too_large =
      absl::StrCat("the body takes more than ", most,
                   " bytes, the limit (grpc.max-message-bytes); send less in each call");
  if (LengthOf(request) > most) {
    bodies_.Discard(request, reader);
    return Refuse(request, response, 413, too_large);
  }
  // Before the body is read: so bodies are bounded, too, and threads that wait for them.
  std::shared_ptr<void> slot = calls_.Take();
  const size_t bytes = request.has_header("Content-Encoding") ? most : LengthOf(request);
  std::shared_ptr<void> held = bytes_.Take(static_cast<int64_t>(bytes));
  if (slot == nullptr || held == nullptr) {
    bodies_.Discard(request, reader);
    return Refuse(
        request, response, 429,
        slot == nullptr
            ? absl::StrCat(kMostCalls,
                           " calls run over HTTP, the most there may be; try again, or "
                           "use gRPC, which takes more")
            : std::string("the bodies of calls that run over HTTP take all the memory they may; "
                          "try again, or use gRPC"));
  }
  std::string body;
  const auto fault = bodies_.Read(request, reader, most, too_large, &body);
  if (fault.has_value()) return Refuse(request, response, fault->status, fault->message);
  const std::string grpc_timeout = request.get_header_value("Grpc-Timeout");
  const std::string request_timeout = request.get_header_value("X-Request-Timeout");
  rpc::HttpReply reply = callbacks_.call({.path = request.path,
                                          .body = body,
                                          .grpc_timeout = grpc_timeout,
                                          .request_timeout = request_timeout});
  held.reset();
  if (reply.status != 200) return Send(reply, response);
  bodies_.SendInPieces(std::move(reply.body), std::move(slot), response);
}

}  // namespace vecino
