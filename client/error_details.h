// What a failed call says beyond its code: google.rpc details turned into plain values.
#pragma once

#include <google/rpc/status.pb.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <optional>

#include "client/vecino/client.h"

namespace vecino::internal {

// Code, message and the first BadRequest field of a call's status (`grpc-status-details-bin`).
// Details that do not parse are ignored.
Status FromGrpc(const grpc::Status& status);

// The same of one item of a batch.
Status FromRpc(const google::rpc::Status& status);

// The RetryInfo delay of a call's status, at least 0; nullopt when it carries none.
std::optional<std::chrono::nanoseconds> RetryDelay(const grpc::Status& status);

}  // namespace vecino::internal
