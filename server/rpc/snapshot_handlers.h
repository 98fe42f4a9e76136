// The methods of vecino.v1.AdminService that are about snapshots and what is stored, without gRPC.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/longrunning/operations.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/admin_service.pb.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread; they block as the engine does. The contract
// is told in vecino/v1/admin_service.proto.
class SnapshotHandlers {
 public:
  // `engine` must outlive it.
  explicit SnapshotHandlers(engine::Engine* engine) : engine_(*engine) {}

  absl::Status CreateSnapshot(const v1::CreateSnapshotRequest& request,
                              google::longrunning::Operation* response,
                              const engine::CallContext& context);
  absl::Status ListSnapshots(const v1::ListSnapshotsRequest& request,
                             v1::ListSnapshotsResponse* response,
                             const engine::CallContext& context);
  absl::Status RestoreSnapshot(const v1::RestoreSnapshotRequest& request,
                               google::longrunning::Operation* response,
                               const engine::CallContext& context);
  absl::Status DeleteSnapshot(const v1::DeleteSnapshotRequest& request,
                              v1::DeleteSnapshotResponse* response,
                              const engine::CallContext& context);
  absl::StatusOr<std::unique_ptr<MessageStream>> VerifyIntegrity(
      const v1::VerifyIntegrityRequest& request, const engine::CallContext& context);

 private:
  engine::Engine& engine_;
};

}  // namespace vecino::rpc
