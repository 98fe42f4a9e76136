// The methods of vecino.v1.CollectionService on migrations, without gRPC: checks, converts, calls
// the engine.
#pragma once

#include "absl/status/status.h"
#include "google/longrunning/operations.pb.h"
#include "server/engine/engine.h"
#include "vecino/v1/collection_service.pb.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread; they block as the engine does. The contract
// of each is the comment in collection_service.proto.
class MigrationHandlers {
 public:
  // `engine` must outlive it.
  explicit MigrationHandlers(engine::Engine* engine) : engine_(*engine) {}

  absl::Status MigrateEmbeddings(const v1::MigrateEmbeddingsRequest& request,
                                 google::longrunning::Operation* response,
                                 const engine::CallContext& context);
  absl::Status SwitchEmbeddings(const v1::SwitchEmbeddingsRequest& request,
                                v1::SwitchEmbeddingsResponse* response,
                                const engine::CallContext& context);
  absl::Status FinishEmbeddingMigration(const v1::FinishEmbeddingMigrationRequest& request,
                                        v1::FinishEmbeddingMigrationResponse* response,
                                        const engine::CallContext& context);

 private:
  engine::Engine& engine_;
};

}  // namespace vecino::rpc
