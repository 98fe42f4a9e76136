#include "server/api_routes.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace vecino {
namespace {

constexpr const char* kEmbeddings = "/v1/embeddings";
constexpr const char* kModels = "/v1/models";
// A dot would not match the ends of lines that a path may hold.
constexpr const char* kAnyPath = "[\\s\\S]*";

// httplib notices silence; these end what trickles.
constexpr absl::Duration kBodyPatience = absl::Seconds(30);
constexpr absl::Duration kReplyPatience = absl::Seconds(60);
constexpr absl::Duration kDiscardPatience = absl::Seconds(2);
constexpr uint64_t kDiscardBytes = 64 << 20;
constexpr size_t kPieceBytes = 64 << 10;

// Whether httplib can read the body and knows its end. It reads chunks' lengths and multipart
// headers into memory without a limit.
bool HasLength(const httplib::Request& request) {
  return request.has_header("Content-Length") && !request.has_header("Transfer-Encoding") &&
         !request.is_multipart_form_data();
}

uint64_t LengthOf(const httplib::Request& request) {
  return request.get_header_value<uint64_t>("Content-Length");
}

void Send(const rpc::HttpReply& reply, httplib::Response& response) {
  response.status = reply.status;
  if (reply.retry_after_seconds > 0) {
    response.set_header("Retry-After", std::to_string(reply.retry_after_seconds));
  }
  response.set_content(reply.body, "application/json");
}

// In pieces, so that httplib does not compress it (Brotli takes longer than the model), and a
// caller who reads slowly keeps the slot.
void SendInPieces(std::string body, std::shared_ptr<void> slot,
                  std::shared_ptr<const std::atomic<bool>> stopping, httplib::Response& response) {
  const auto whole = std::make_shared<const std::string>(std::move(body));
  const absl::Time deadline = absl::Now() + kReplyPatience;
  response.status = 200;
  response.set_content_provider(
      whole->size(), "application/json",
      [whole, deadline, stopping = std::move(stopping), slot = std::move(slot)](
          size_t offset, size_t length, httplib::DataSink& sink) mutable {
        if (offset >= whole->size() || absl::Now() >= deadline || *stopping) {
          return false;
        }
        length = std::min({length, kPieceBytes, whole->size() - offset});
        // Before the end leaves: who has read it may send the next
        // request.
        if (offset + length == whole->size()) slot.reset();
        return sink.write(whole->data() + offset, length);
      });
}

}  // namespace

std::shared_ptr<void> Slots::Take() {
  int free = free_->load();
  do {
    if (free == 0) return nullptr;
  } while (!free_->compare_exchange_weak(free, free - 1));
  return std::shared_ptr<void>(free_.get(), [free = free_](void*) { free->fetch_add(1); });
}

void ApiRoutes::Refuse(httplib::Response& response, int status, const std::string& message) const {
  Send(callbacks_.refusal(status, message), response);
}

void ApiRoutes::Discard(const httplib::Request& request, const httplib::ContentReader& reader) {
  if (!HasLength(request)) return;
  const auto slot = discards_.Take();
  if (slot == nullptr) return;
  const absl::Time deadline = absl::Now() + kDiscardPatience;
  uint64_t read = 0;
  reader([&](const char*, size_t bytes) {
    return (read += bytes) < kDiscardBytes && absl::Now() < deadline && !*stopping_;
  });
}

void ApiRoutes::Embeddings(const httplib::Request& request, httplib::Response& response,
                           const httplib::ContentReader& reader) {
  if (!HasLength(request)) {
    return Refuse(response, 411, "send the body whole, as JSON, with a Content-Length");
  }
  const std::string too_large = absl::StrCat("the body takes more than ", kMostEmbeddingsBytes,
                                             " bytes; split `input` into several requests");
  if (LengthOf(request) > kMostEmbeddingsBytes) {
    Discard(request, reader);
    return Refuse(response, 413, too_large);
  }
  // Before the body is read: so bodies are bounded, too, and threads that wait for them.
  std::shared_ptr<void> slot = embeddings_.Take();
  if (slot == nullptr) {
    Discard(request, reader);
    return Refuse(response, 429,
                  absl::StrCat(kMostEmbeddings,
                               " embedding requests run, the most there may be over HTTP; try "
                               "again, or send more texts in each"));
  }
  const absl::Time deadline = absl::Now() + kBodyPatience;
  std::string body;
  bool fits = true;
  const bool whole = reader([&](const char* data, size_t bytes) {
    fits = body.size() + bytes <= kMostEmbeddingsBytes;  // it may have been compressed
    if (fits) body.append(data, bytes);
    return fits && absl::Now() < deadline && !*stopping_;
  });
  if (!fits) return Refuse(response, 413, too_large);
  if (!whole) {
    return Refuse(response, request.has_header("Content-Encoding") ? 400 : 408,
                  absl::StrCat("the body ended or stalled after ", body.size(), " of ",
                               LengthOf(request), " bytes, or could not be decompressed"));
  }
  rpc::HttpReply reply = callbacks_.embeddings(body);
  if (reply.status != 200) return Send(reply, response);
  SendInPieces(std::move(reply.body), std::move(slot), stopping_, response);
}

void ApiRoutes::Add(httplib::Server& server) {
  using httplib::ContentReader, httplib::Request, httplib::Response;
  // Ours are the limits: of a longer body httplib would read all there is before it says so.
  server.set_payload_max_length(SIZE_MAX);
  server.Post(kEmbeddings,
              [this](const Request& request, Response& response, const ContentReader& reader) {
                Embeddings(request, response, reader);
              });
  server.Get(kModels,
             [this](const Request&, Response& response) { Send(callbacks_.models(), response); });
  server.Get(kEmbeddings, [](const Request&, Response& response) { response.status = 405; });
  const auto none = [this](const Request& request, Response& response,
                           const ContentReader& reader) {
    Discard(request, reader);
    response.status = request.path == kEmbeddings || request.path == kModels ? 405 : 404;
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
  server.set_error_handler(
      httplib::Server::HandlerWithResponse([this](const Request& request, Response& response) {
        if (!request.path.starts_with("/v1/") || !response.body.empty()) {
          return httplib::Server::HandlerResponse::Unhandled;
        }
        Explain(request, response);
        return httplib::Server::HandlerResponse::Handled;
      }));
}

void ApiRoutes::Explain(const httplib::Request& request, httplib::Response& response) const {
  const bool known = request.path == kEmbeddings || request.path == kModels;
  if (response.status == 404 && known) response.status = 405;  // OPTIONS, HEAD
  std::string message = absl::StrCat("HTTP status ", response.status);
  if (response.status == 404) {
    message = absl::StrCat("there is no ", request.path, "; there are POST ", kEmbeddings,
                           " and GET ", kModels);
  } else if (response.status == 405) {
    response.set_header("Allow", request.path == kModels ? "GET" : "POST");
    message = absl::StrCat(request.path, " does not take ", request.method);
  }
  Refuse(response, response.status, message);
}

}  // namespace vecino
