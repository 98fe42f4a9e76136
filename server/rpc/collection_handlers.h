// vecino.v1.CollectionService without gRPC: checks, converts, calls the engine.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "google/longrunning/operations.pb.h"
#include "server/engine/engine.h"
#include "vecino/v1/collection_service.pb.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread; they block as the engine does. The contract
// of each is the comment in collection_service.proto.
class CollectionHandlers {
 public:
  // `engine` must outlive it.
  explicit CollectionHandlers(engine::Engine* engine) : engine_(*engine) {}

  absl::Status CreateCollection(const v1::CreateCollectionRequest& request,
                                v1::CreateCollectionResponse* response,
                                const engine::CallContext& context);
  absl::Status GetCollection(const v1::GetCollectionRequest& request,
                             v1::GetCollectionResponse* response,
                             const engine::CallContext& context);
  absl::Status ListCollections(const v1::ListCollectionsRequest& request,
                               v1::ListCollectionsResponse* response,
                               const engine::CallContext& context);
  absl::Status DeleteCollection(const v1::DeleteCollectionRequest& request,
                                v1::DeleteCollectionResponse* response,
                                const engine::CallContext& context);
  absl::Status GetCollectionStats(const v1::GetCollectionStatsRequest& request,
                                  v1::GetCollectionStatsResponse* response,
                                  const engine::CallContext& context);
  absl::Status RetrainIndex(const v1::RetrainIndexRequest& request,
                            google::longrunning::Operation* response,
                            const engine::CallContext& context);
  absl::Status CompactIndex(const v1::CompactIndexRequest& request,
                            google::longrunning::Operation* response,
                            const engine::CallContext& context);

 private:
  absl::Status Start(std::string_view name, engine::Operation::Type type,
                     std::span<const int> shards, bool validate_only,
                     google::longrunning::Operation* response);

  engine::Engine& engine_;
};

}  // namespace vecino::rpc
