#include "server/http_body.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace vecino {
namespace {

// httplib notices silence; these end what trickles.
constexpr absl::Duration kBodyPatience = absl::Seconds(30);
constexpr absl::Duration kReplyPatience = absl::Seconds(60);
constexpr absl::Duration kDiscardPatience = absl::Seconds(2);
constexpr uint64_t kDiscardBytes = 64 << 20;
constexpr size_t kPieceBytes = 64 << 10;

}  // namespace

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

std::shared_ptr<void> Slots::Take(int64_t count) {
  int64_t free = free_->load();
  do {
    if (free < count) return nullptr;
  } while (!free_->compare_exchange_weak(free, free - count));
  return std::shared_ptr<void>(free_.get(),
                               [free = free_, count](void*) { free->fetch_add(count); });
}

std::optional<HttpBodies::Fault> HttpBodies::Read(const httplib::Request& request,
                                                  const httplib::ContentReader& reader,
                                                  size_t most_bytes, const std::string& too_large,
                                                  std::string* body) const {
  const absl::Time deadline = absl::Now() + kBodyPatience;
  bool fits = true;
  const bool whole = reader([&](const char* data, size_t bytes) {
    fits = body->size() + bytes <= most_bytes;  // it may have been compressed
    if (fits) body->append(data, bytes);
    return fits && absl::Now() < deadline && !*stopping_;
  });
  if (!fits) return Fault{413, too_large};
  if (whole) return std::nullopt;
  return Fault{request.has_header("Content-Encoding") ? 400 : 408,
               absl::StrCat("the body ended or stalled after ", body->size(), " of ",
                            LengthOf(request), " bytes, or could not be decompressed")};
}

void HttpBodies::Discard(const httplib::Request& request, const httplib::ContentReader& reader) {
  if (!HasLength(request)) return;
  const auto slot = discards_.Take();
  if (slot == nullptr) return;
  const absl::Time deadline = absl::Now() + kDiscardPatience;
  uint64_t read = 0;
  reader([&](const char*, size_t bytes) {
    return (read += bytes) < kDiscardBytes && absl::Now() < deadline && !*stopping_;
  });
}

void HttpBodies::SendInPieces(std::string body, std::shared_ptr<void> slot,
                              httplib::Response& response) const {
  const auto whole = std::make_shared<const std::string>(std::move(body));
  const absl::Time deadline = absl::Now() + kReplyPatience;
  response.status = 200;
  response.set_content_provider(
      whole->size(), "application/json",
      [whole, deadline, stopping = stopping_, slot = std::move(slot)](
          size_t offset, size_t length, httplib::DataSink& sink) mutable {
        if (offset >= whole->size() || absl::Now() >= deadline || *stopping) {
          return false;
        }
        length = std::min({length, kPieceBytes, whole->size() - offset});
        // Before the end leaves: who has read it may send the next request.
        if (offset + length == whole->size()) slot.reset();
        return sink.write(whole->data() + offset, length);
      });
}

}  // namespace vecino
