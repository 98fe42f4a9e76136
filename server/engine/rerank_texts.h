// Scoring texts against a query, apart from any collection, and which model does it.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "encoder/encoder.h"
#include "server/engine/engine.h"

namespace vecino::engine {

// The reranker of that name; of an empty one the only reranker there is, in fp32. field: that of
// the request which names it. NOT_FOUND: no such model. INVALID_ARGUMENT naming `field`: an
// embedding model, or no name and several rerankers. FAILED_PRECONDITION: no name and no reranker.
absl::StatusOr<encoder::ModelInfo> FindReranker(const encoder::Encoder& encoder,
                                                std::string_view name, std::string_view field);

// As Engine::Rerank.
absl::StatusOr<RerankedTexts> RerankTexts(encoder::Encoder& encoder, const RerankRequest& request,
                                          const CallContext& context);

}  // namespace vecino::engine
