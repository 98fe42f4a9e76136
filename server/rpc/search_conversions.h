// Between the messages of a search and the engine's own types.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "server/rpc/reply_budget.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {

// All of a request but `parent` and max_bytes. INVALID_ARGUMENT naming the field.
// `collection`: the parent's id.
absl::Status ReadSearch(std::string_view collection, const v1::SearchDocumentsRequest& request,
                        engine::SearchRequest* out);

// INVALID_ARGUMENT naming the field below `diversify`.
absl::Status ReadDiversify(const v1::Diversify& diversify, engine::SearchRequest* out);

void WriteHitPassage(const engine::HitPassage& passage, v1::Passage* out);

// Stops with RESOURCE_EXHAUSTED when the hits do not fit into `budget`. request: what was asked.
absl::Status WriteSearch(std::string_view collection, const v1::SearchDocumentsRequest& request,
                         const engine::SearchResult& result, ReplyBudget* budget,
                         v1::SearchDocumentsResponse* out);

}  // namespace vecino::rpc
