// OpenAI's embeddings API in JSON, to and from the messages of EmbeddingService. Nothing throws but
// bad_alloc.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/http_reply.h"
#include "vecino/v1/embedding_service.pb.h"

namespace vecino::rpc {

struct OpenAiEmbeddings {
  v1::EmbedTextRequest request;
  bool one = false;     // `input` is a string, not an array
  bool base64 = false;  // vectors as little-endian floats in base64, not as numbers
};

// The body of POST /v1/embeddings; docs/operations.md lists its fields. INVALID_ARGUMENT naming the
// field where one is at fault: one that is unknown, stands twice or has another type, or more texts
// than a call may have. What EmbedText checks itself is left to it.
absl::StatusOr<OpenAiEmbeddings> ReadOpenAiEmbeddings(std::string_view body);

// That a body is no JSON, and why, as nlohmann's parser says it.
absl::Status NotJson(size_t at, std::string_view why);

// The reply. Floats have as many digits as it takes to read the same float again.
std::string WriteOpenAiEmbeddings(const v1::EmbedTextResponse& response, bool base64);

// The reply to GET /v1/models.
std::string WriteOpenAiModels(const v1::ListModelsResponse& response);

// An error that HTTP has a status for, such as 405. The message is cut as in ToGrpcStatus.
HttpReply OpenAiError(int status, std::string_view message);
// An error of a call: HTTP's status by the code, `param` by the field that it names.
HttpReply OpenAiError(const absl::Status& status);

// An error of EmbedText about the fields it knows, as one about `asked`'s.
absl::Status AsOpenAiField(const absl::Status& status, const OpenAiEmbeddings& asked);

}  // namespace vecino::rpc
