// vecino.v1.SearchService without gRPC: checks, converts, calls the engine.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {

// Thread safety: safe from any thread; blocks as the engine does. The contract is the comment in
// search_service.proto.
class SearchHandlers {
 public:
  // `engine` must outlive it. Documents that do not fit into a reply of `max_reply_bytes` are not
  // read further than that.
  SearchHandlers(engine::Engine* engine, size_t max_reply_bytes)
      : engine_(*engine), max_reply_bytes_(max_reply_bytes) {}

  const engine::Engine& engine() const { return engine_; }

  // Whether a request is a search by vector for at most 100 ids and nothing else, to a recall
  // target of at most .99 or the collection's own: no model, hardly ever the disk, no waiting for
  // writes unless updates race with it. Not in a chunked collection, where passages are read from
  // the store. Of a large collection that is compared row by row it may be long all the same.
  bool IsShort(const grpc::ByteBuffer& request) const;

  absl::Status SearchDocuments(const v1::SearchDocumentsRequest& request,
                               v1::SearchDocumentsResponse* response,
                               const engine::CallContext& context);
  absl::Status BatchSearchDocuments(const v1::BatchSearchDocumentsRequest& request,
                                    v1::BatchSearchDocumentsResponse* response,
                                    const engine::CallContext& context);
  absl::Status HybridSearchDocuments(const v1::HybridSearchDocumentsRequest& request,
                                     v1::HybridSearchDocumentsResponse* response,
                                     const engine::CallContext& context);

 private:
  engine::Engine& engine_;
  const size_t max_reply_bytes_;
};

}  // namespace vecino::rpc
