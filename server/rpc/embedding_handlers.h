// vecino.v1.EmbeddingService without gRPC: checks, converts, calls the engine.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "vecino/v1/embedding_service.pb.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread; they block as the engine does. The contract
// of each is the comment in embedding_service.proto.
class EmbeddingHandlers {
 public:
  // `engine` must outlive it. Texts whose vectors would not fit into a reply of `max_reply_bytes`
  // are refused before the model runs.
  EmbeddingHandlers(engine::Engine* engine, size_t max_reply_bytes)
      : engine_(*engine), max_reply_bytes_(max_reply_bytes) {}

  absl::Status EmbedText(const v1::EmbedTextRequest& request, v1::EmbedTextResponse* response,
                         const engine::CallContext& context);
  absl::Status RerankTexts(const v1::RerankTextsRequest& request, v1::RerankTextsResponse* response,
                           const engine::CallContext& context);
  absl::Status ListModels(const v1::ListModelsRequest& request, v1::ListModelsResponse* response,
                          const engine::CallContext& context);
  absl::Status GetModel(const v1::GetModelRequest& request, v1::GetModelResponse* response,
                        const engine::CallContext& context);

 private:
  engine::Engine& engine_;
  const size_t max_reply_bytes_;
};

}  // namespace vecino::rpc
