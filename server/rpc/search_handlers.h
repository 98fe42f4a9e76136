// vecino.v1.SearchService without gRPC: checks, converts, calls the engine.
#pragma once

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {

// Thread safety: safe from any thread; blocks as the engine does. The contract is the comment in
// search_service.proto.
class SearchHandlers {
 public:
  // `engine` must outlive it.
  explicit SearchHandlers(engine::Engine* engine) : engine_(*engine) {}

  absl::Status SearchDocuments(const v1::SearchDocumentsRequest& request,
                               v1::SearchDocumentsResponse* response,
                               const engine::CallContext& context);

 private:
  engine::Engine& engine_;
};

}  // namespace vecino::rpc
