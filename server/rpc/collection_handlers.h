// vecino.v1.CollectionService without gRPC: checks, converts, calls the engine.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/longrunning/operations.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/collection_service.pb.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread; they block as the engine does. The contract
// of each is the comment in collection_service.proto.
class CollectionHandlers {
 public:
  // `engine` must outlive it; it must outlive the streams it gives.
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
  absl::Status UpdateCollection(const v1::UpdateCollectionRequest& request,
                                v1::UpdateCollectionResponse* response,
                                const engine::CallContext& context);
  absl::Status DeleteCollection(const v1::DeleteCollectionRequest& request,
                                v1::DeleteCollectionResponse* response,
                                const engine::CallContext& context);
  absl::Status GetCollectionStats(const v1::GetCollectionStatsRequest& request,
                                  v1::GetCollectionStatsResponse* response,
                                  const engine::CallContext& context);
  absl::Status EvaluateRecall(const v1::EvaluateRecallRequest& request,
                              v1::EvaluateRecallResponse* response,
                              const engine::CallContext& context);
  absl::Status RetrainIndex(const v1::RetrainIndexRequest& request,
                            google::longrunning::Operation* response,
                            const engine::CallContext& context);
  absl::Status CompactIndex(const v1::CompactIndexRequest& request,
                            google::longrunning::Operation* response,
                            const engine::CallContext& context);
  absl::Status TuneIndex(const v1::TuneIndexRequest& request,
                         google::longrunning::Operation* response,
                         const engine::CallContext& context);
  absl::StatusOr<std::unique_ptr<MessageStream>> ExportIndex(const v1::ExportIndexRequest& request,
                                                             const engine::CallContext& context);

 private:
  absl::Status Start(std::string_view name, engine::Operation::Type type,
                     std::span<const int> shards, bool validate_only,
                     google::longrunning::Operation* response, double min_recall = 0);

  engine::Engine& engine_;
  std::atomic<int> exports_ = 0;      // under way, of all collections
  std::atomic<int> evaluations_ = 0;  // the same
};

}  // namespace vecino::rpc
