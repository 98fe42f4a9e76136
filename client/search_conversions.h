// Searches as the client's plain values and as the contract's messages.
#pragma once

#include <vecino/v1/search_service.pb.h>

#include <string>

#include "client/vecino/client.h"

namespace vecino::internal {

void ToProto(const Diversify& diversify, v1::Diversify* message);

// All but the parent. INVALID_ARGUMENT naming the field for a string that is not UTF-8, and for a
// recall target beside other ways to say how hard to look.
Status ToProto(const Query& query, const SearchOptions& options,
               v1::SearchDocumentsRequest* request);
SearchResponse FromProto(const v1::SearchDocumentsResponse& message);

}  // namespace vecino::internal
