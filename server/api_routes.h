// The paths of APIs on the admin port, OpenAI's among them: what may reach the callbacks, and how
// many at once.
#pragma once

#include <httplib.h>

#include <optional>
#include <string>
#include <utility>

#include "server/admin_http.h"
#include "server/call_routes.h"
#include "server/http_body.h"

namespace vecino {

// Thread safety: the server calls it from its own threads; it must outlive them.
class ApiRoutes {
 public:
  explicit ApiRoutes(ApiCallbacks callbacks);

  // See HttpBodies.
  void Stop() { bodies_.Stop(); }

  // Before the server listens. Takes every POST, PUT, PATCH and DELETE, so that no body is read
  // beyond its limit.
  void Add(httplib::Server& server);

 private:
  // Of embeddings or scores, by the path.
  void Compute(const httplib::Request& request, httplib::Response& response,
               const httplib::ContentReader& reader);
  void Refuse(const httplib::Request& request, httplib::Response& response, int status,
              const std::string& message) const;
  // Whether it is a path of calls.
  bool IsCall(const httplib::Request& request) const;
  // Whether a GET of the path is answered.
  bool TakesGet(std::string_view path) const;
  // Fills the reply of an error that came without one: below /v1/ in the form of OpenAI's API or of
  // the calls, elsewhere in that of the calls.
  void Explain(const httplib::Request& request, httplib::Response& response) const;

  const ApiCallbacks callbacks_;
  Slots embeddings_{kMostEmbeddings};
  Slots descriptions_{4};
  HttpBodies bodies_;
  std::optional<CallRoutes> calls_;
};

}  // namespace vecino
