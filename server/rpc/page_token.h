// Page tokens: opaque to callers, checked when they come back.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vecino::rpc {

// Where a page starts, and what it is a page of.
struct PagePosition {
  int shard = 0;
  std::string after_id;
};

// `kind` names the request ("ListDocuments"), `scope` what is listed (a collection). Web-safe
// base64.
std::string MakePageToken(std::string_view kind, std::string_view scope,
                          const PagePosition& position);

// INVALID_ARGUMENT naming the field unless MakePageToken made it with the same kind and scope.
// The checksum guards against mistakes, not against forgery: a token grants nothing.
// field: the one that holds it.
absl::StatusOr<PagePosition> ReadPageToken(std::string_view kind, std::string_view scope,
                                           std::string_view token,
                                           std::string_view field = "page_token");

}  // namespace vecino::rpc
