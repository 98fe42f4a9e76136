// Page tokens of searches: opaque to callers, checked when they come back.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/engine/types.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {

// Web-safe base64. Bound to the collection and to all of `request` that decides which documents are
// found in which order: not to top_k, read_mask, write_tokens and page_token.
std::string MakeSearchPageToken(std::string_view collection,
                                const v1::SearchDocumentsRequest& request,
                                const engine::SearchPosition& position);

// What request.page_token says. INVALID_ARGUMENT naming `page_token` unless MakeSearchPageToken
// made it for the same search. The checksum guards against mistakes, not against forgery: a token
// grants nothing.
absl::StatusOr<engine::SearchPosition> ReadSearchPageToken(
    std::string_view collection, const v1::SearchDocumentsRequest& request);

}  // namespace vecino::rpc
