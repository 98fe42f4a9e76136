// What a retrain or a compaction would take.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/maintenance_policy.h"
#include "server/engine/operation.h"
#include "server/engine/types.h"

namespace vecino::engine {

struct OperationEstimate {
  int64_t rows = 0;          // live rows it goes over
  int64_t deleted_rows = 0;  // dead rows it drops
  absl::Duration duration;
  int64_t peak_bytes = 0;   // while it runs, beside what is there
  int64_t index_bytes = 0;  // of what it makes
};

// Live rows of the shard's index: documents, or in a chunked collection passages.
int64_t LiveRows(const ShardStats& shard, bool chunked);

// chunked: whether rows are passages. shards: those it goes over, as they are now. threads: of
// maintenance; each works on one shard.
//
// The time is a sum of products of rows, lists and dimension with rates measured on one core of the
// Sapphire Rapids class (docs/index.md): good to a factor of two there when nothing else runs.
OperationEstimate EstimateOperation(Operation::Type type, const IndexSpec& spec, int dimension,
                                    bool chunked, const std::vector<ShardStats>& shards,
                                    int threads, const MaintenancePolicy& policy);

}  // namespace vecino::engine
