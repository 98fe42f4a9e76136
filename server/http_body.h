// Bodies on the admin port: what is read of requests, and how replies leave, whatever the other
// side does.
#pragma once

#include <httplib.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/rpc/http_reply.h"

namespace vecino {

// So many at once, others are turned away. Thread safe.
class Slots {
 public:
  explicit Slots(int64_t free) : free_(std::make_shared<std::atomic<int64_t>>(free)) {}
  // `count` of them, held until the last copy is gone; null: there are not that many.
  std::shared_ptr<void> Take(int64_t count = 1);

 private:
  const std::shared_ptr<std::atomic<int64_t>> free_;
};

// Whether httplib can read the body and knows its end. It reads chunks' lengths and multipart
// headers into memory without a limit.
bool HasLength(const httplib::Request& request);
// What Content-Length says.
uint64_t LengthOf(const httplib::Request& request);

// Sends the reply at once. httplib may compress it.
void Send(const rpc::HttpReply& reply, httplib::Response& response);

// Thread safety: all methods are safe from any thread.
class HttpBodies {
 public:
  static constexpr int kMostDiscards = 4;  // refused bodies that are read away at once

  // Bodies that still come and replies that still go are cut off, so that a slow caller does not
  // hold up the server's end.
  void Stop() { *stopping_ = true; }

  struct Fault {
    int status;  // of HTTP
    std::string message;
  };
  // Reads the whole body, for half a minute at most; `too_large` is what is said of one that takes
  // more than `most_bytes`, also of one that only does when it is decompressed. HasLength must
  // hold.
  std::optional<Fault> Read(const httplib::Request& request, const httplib::ContentReader& reader,
                            size_t most_bytes, const std::string& too_large,
                            std::string* body) const;

  // Reads a body away before it is refused: a connection closed with bytes unread is reset, and the
  // sender may not get to the reply.
  void Discard(const httplib::Request& request, const httplib::ContentReader& reader);

  // Sends a reply of status 200 in pieces, so that httplib does not compress it (Brotli takes
  // longer than the call), and a caller who reads slowly keeps the slot.
  void SendInPieces(std::string body, std::shared_ptr<void> slot,
                    httplib::Response& response) const;

 private:
  Slots discards_{kMostDiscards};
  const std::shared_ptr<std::atomic<bool>> stopping_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace vecino
