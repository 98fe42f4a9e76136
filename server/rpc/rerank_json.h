// POST /v1/rerank in the form that Jina's and Cohere's rerankers have, to and from the messages of
// EmbeddingService. Nothing throws but bad_alloc.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vecino/v1/embedding_service.pb.h"

namespace vecino::rpc {

struct RerankBody {
  v1::RerankTextsRequest request;
  std::optional<int> top_n;  // results of the best only; none: of all
  bool return_documents = false;
};

// The body of POST /v1/rerank; docs/rerank.md lists its fields. INVALID_ARGUMENT naming the field
// where one is at fault: one that is missing, unknown, stands twice or has another type, or more
// documents than a call may have. What RerankTexts checks itself is left to it.
absl::StatusOr<RerankBody> ReadRerankBody(std::string_view body);

// The reply: the most relevant first, equal ones as they were sent. `response` has a result for
// each of asked.request's texts.
std::string WriteRerankReply(const RerankBody& asked, const v1::RerankTextsResponse& response);

// An error of RerankTexts about the fields it knows, as one about the body's.
absl::Status AsRerankField(const absl::Status& status);

}  // namespace vecino::rpc
