// Between the messages of a hybrid search and the engine's own types.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "server/rpc/reply_budget.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {

// All of a request but `parent` and max_bytes. INVALID_ARGUMENT naming the field.
absl::Status ReadHybrid(const v1::HybridSearchDocumentsRequest& request,
                        engine::SearchRequest* out);

// Stops with RESOURCE_EXHAUSTED when the hits do not fit into `budget`.
absl::Status WriteHybrid(std::string_view collection, const engine::SearchResult& result,
                         ReplyBudget* budget, v1::HybridSearchDocumentsResponse* out);

}  // namespace vecino::rpc
