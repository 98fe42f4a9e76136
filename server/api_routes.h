// The paths of OpenAI's API on the admin port: what may reach the callbacks, and how many at once.
#pragma once

#include <httplib.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "server/admin_http.h"

namespace vecino {

// So many at once, others are turned away. Thread safe.
class Slots {
 public:
  explicit Slots(int free) : free_(std::make_shared<std::atomic<int>>(free)) {}
  // Held until the last copy is gone; null: all are taken.
  std::shared_ptr<void> Take();

 private:
  const std::shared_ptr<std::atomic<int>> free_;
};

// Thread safety: the server calls it from its own threads; it must outlive them.
class ApiRoutes {
 public:
  static constexpr int kMostDiscards = 4;  // refused bodies that are read away at once

  explicit ApiRoutes(ApiCallbacks callbacks) : callbacks_(std::move(callbacks)) {}

  // Bodies that still come and replies that still go are cut off, so that a slow caller does not
  // hold up the server's end.
  void Stop() { *stopping_ = true; }

  // Before the server listens. Takes every POST, PUT, PATCH and DELETE, so that no body is read
  // beyond its limit.
  void Add(httplib::Server& server);

 private:
  void Embeddings(const httplib::Request& request, httplib::Response& response,
                  const httplib::ContentReader& reader);
  void Refuse(httplib::Response& response, int status, const std::string& message) const;
  // Fills the reply of an error that came without one.
  void Explain(const httplib::Request& request, httplib::Response& response) const;
  // Reads a body away before it is refused: a connection closed with bytes unread is reset, and the
  // sender may not get to the reply.
  void Discard(const httplib::Request& request, const httplib::ContentReader& reader);

  const ApiCallbacks callbacks_;
  Slots embeddings_{kMostEmbeddings};
  Slots discards_{kMostDiscards};
  const std::shared_ptr<std::atomic<bool>> stopping_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace vecino
