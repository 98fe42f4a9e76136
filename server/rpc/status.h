// Statuses on their way to a caller.
#pragma once

#include <grpcpp/support/status.h>

#include <string_view>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace vecino::rpc {

// The status as gRPC carries it, with google.rpc.Status in its binary details: a BadRequest when
// the status names a field (engine::InvalidField), a RetryInfo when the same call may succeed later
// (RESOURCE_EXHAUSTED and UNAVAILABLE, unless made by NotRetryable). Messages are cut at 1,000
// bytes and made valid UTF-8, so that they always fit into the 8 KiB that clients accept.
grpc::Status ToGrpcStatus(const absl::Status& status);

// The same as a message, for one item of a batch.
void ToRpcStatus(const absl::Status& status, google::rpc::Status* out);

// Marks a RESOURCE_EXHAUSTED or UNAVAILABLE that repeating the call as it is cannot cure.
absl::Status NotRetryable(absl::Status status);

// Names `to` in place of `from` in the path that `status` names, if it begins so: with
// "documents[0]" and "document", `documents[0].vector` becomes `document.vector`. For what the
// engine saw at another place than the caller.
absl::Status MoveField(const absl::Status& status, std::string_view from, std::string_view to);

}  // namespace vecino::rpc
