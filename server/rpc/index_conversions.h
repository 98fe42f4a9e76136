// Index policies, figures and long-running work between the contract and the engine.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "google/longrunning/operations.pb.h"
#include "server/engine/engine.h"
#include "vecino/v1/collection.pb.h"

namespace vecino::rpc {

// INVALID_ARGUMENT for a kind this server does not know; the engine checks all else. Paths start
// with `collection.index_policy`.
absl::StatusOr<engine::IndexSpec> ReadIndexPolicy(const v1::IndexPolicy& policy);
void WriteIndexPolicy(const engine::IndexSpec& spec, v1::IndexPolicy* out);

void WriteStats(std::string_view collection, const engine::CollectionStats& stats,
                v1::CollectionStats* out);

// With IndexOperationMetadata, or that of its type, and the response or error once it is done.
void WriteOperation(const engine::Operation::Info& info, google::longrunning::Operation* out);
// An operation without a name that is done and did nothing.
void WriteEstimate(std::string_view collection, engine::Operation::Type type,
                   const engine::OperationEstimate& estimate, google::longrunning::Operation* out);

}  // namespace vecino::rpc
