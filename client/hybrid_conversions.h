// Hybrid searches as the client's plain values and as the contract's messages.
#pragma once

#include <vecino/v1/search_service.pb.h>

#include "client/vecino/client.h"

namespace vecino::internal {

// All but the parent. INVALID_ARGUMENT naming the field for a string that is not UTF-8, and for an
// option that a hybrid search does not have.
Status ToProto(const HybridQuery& query, const SearchOptions& options,
               v1::HybridSearchDocumentsRequest* request);
SearchResponse FromProto(const v1::HybridSearchDocumentsResponse& message);

}  // namespace vecino::internal
