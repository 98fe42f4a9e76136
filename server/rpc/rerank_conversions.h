// Between the messages of reranking and the engine's own types.
#pragma once

#include "absl/status/status.h"
#include "server/engine/types.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {

// The field `rerank` of a request that has it. INVALID_ARGUMENT naming `rerank.` and the field.
absl::Status ReadRerank(const v1::Rerank& rerank, engine::SearchRequest* out);

void WriteReranked(const engine::Reranked& reranked, v1::Reranked* out);

}  // namespace vecino::rpc
