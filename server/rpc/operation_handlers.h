// google.longrunning.Operations without gRPC: checks, converts, calls the engine.
#pragma once

#include "absl/status/status.h"
#include "google/longrunning/operations.pb.h"
#include "google/protobuf/empty.pb.h"
#include "server/engine/engine.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread; they block as the engine does. The contract
// is told in vecino/v1/index_operation.proto.
class OperationHandlers {
 public:
  // `engine` must outlive it.
  explicit OperationHandlers(engine::Engine* engine) : engine_(*engine) {}

  absl::Status ListOperations(const google::longrunning::ListOperationsRequest& request,
                              google::longrunning::ListOperationsResponse* response,
                              const engine::CallContext& context);
  absl::Status GetOperation(const google::longrunning::GetOperationRequest& request,
                            google::longrunning::Operation* response,
                            const engine::CallContext& context);
  absl::Status DeleteOperation(const google::longrunning::DeleteOperationRequest& request,
                               google::protobuf::Empty* response,
                               const engine::CallContext& context);
  absl::Status CancelOperation(const google::longrunning::CancelOperationRequest& request,
                               google::protobuf::Empty* response,
                               const engine::CallContext& context);
  absl::Status WaitOperation(const google::longrunning::WaitOperationRequest& request,
                             google::longrunning::Operation* response,
                             const engine::CallContext& context);

 private:
  engine::Engine& engine_;
};

}  // namespace vecino::rpc
