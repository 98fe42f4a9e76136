// Operations, for people and for programs.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "client/cli/format.h"
#include "vecino/client.h"

namespace vecino::cli {

std::string_view OperationTypeName(Operation::Type type);  // retrain, compact
// "running", "cancelling", "done", "cancelled", "failed".
std::string_view OperationState(const Operation& operation);

// How far it is: the stages under way with their share of rows, and how many shards are done.
// "2 of 4 shards, 2 encoding 45%, 3 waiting".
std::string OperationProgress(const Operation& operation);

// "recall old 0.941 new 0.968, rows compared old 10,312 new 9,204"; empty before it is measured.
std::string OutcomeFigures(const OperationShard& shard);

Json OperationJson(const Operation& operation);

}  // namespace vecino::cli
