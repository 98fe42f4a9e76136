// The paths of the RPCs on the admin port: what may reach the callbacks, and how many at once.
#pragma once

#include <httplib.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "server/admin_http.h"
#include "server/http_body.h"

namespace vecino {

// Thread safety: all methods are safe from any thread.
class CallRoutes {
 public:
  // `bodies` must outlive it.
  CallRoutes(CallCallbacks callbacks, HttpBodies* bodies)
      : callbacks_(std::move(callbacks)), bodies_(*bodies) {}

  // Whether the path is below /v1/ and begins as a service does, with a capital; OpenAI's have
  // none.
  static bool Owns(std::string_view path);

  // A request with a body, of a path that it owns.
  //   405  it is no POST
  //   411  no Content-Length
  //   415  its Content-Type is not application/json. Required also because a browser asks the
  //   server
  //        before it lets a foreign page send that, and this server answers no such question
  //   413  the body takes more than the limit; 408, 400 when it does not come whole
  //   429  kMostCalls run, or their bodies take kMostCallsBytes
  void Handle(const httplib::Request& request, httplib::Response& response,
              const httplib::ContentReader& reader);

  // Fills the reply of an error that came without one, of a path that it owns.
  void Explain(const httplib::Request& request, httplib::Response& response) const;

 private:
  void Refuse(const httplib::Request& request, httplib::Response& response, int status,
              const std::string& message) const;

  const CallCallbacks callbacks_;
  HttpBodies& bodies_;
  Slots calls_{kMostCalls};
  Slots bytes_{static_cast<int64_t>(std::max(kMostCallsBytes, callbacks_.max_body_bytes))};
};

}  // namespace vecino
