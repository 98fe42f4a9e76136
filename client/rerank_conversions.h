// Reranking as the client's plain values and as the contract's messages.
#pragma once

#include <vecino/v1/search_service.pb.h>

#include "client/vecino/client.h"

namespace vecino::internal {

// INVALID_ARGUMENT naming the field for a string that is not UTF-8, and for a negative budget.
Status ToProto(const Reranking& reranking, v1::Rerank* message);
Reranked FromProto(const v1::Reranked& message);

}  // namespace vecino::internal
