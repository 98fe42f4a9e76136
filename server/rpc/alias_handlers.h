// The methods of vecino.v1.CollectionService on aliases, without gRPC: checks, converts, calls the
// engine.
#pragma once

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "vecino/v1/collection_service.pb.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread; they block as the engine does. The contract
// of each is the comment in collection_service.proto.
class AliasHandlers {
 public:
  // `engine` must outlive it.
  explicit AliasHandlers(engine::Engine* engine) : engine_(*engine) {}

  absl::Status CreateAlias(const v1::CreateAliasRequest& request, v1::CreateAliasResponse* response,
                           const engine::CallContext& context);
  absl::Status UpdateAlias(const v1::UpdateAliasRequest& request, v1::UpdateAliasResponse* response,
                           const engine::CallContext& context);
  absl::Status GetAlias(const v1::GetAliasRequest& request, v1::GetAliasResponse* response,
                        const engine::CallContext& context);
  absl::Status ListAliases(const v1::ListAliasesRequest& request, v1::ListAliasesResponse* response,
                           const engine::CallContext& context);
  absl::Status DeleteAlias(const v1::DeleteAliasRequest& request, v1::DeleteAliasResponse* response,
                           const engine::CallContext& context);

 private:
  engine::Engine& engine_;
};

}  // namespace vecino::rpc
