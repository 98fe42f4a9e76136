// Makes searches again, exactly, and compares.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/filter_cache.h"
#include "server/engine/shard.h"
#include "server/fields/filter.h"
#include "server/index/hit.h"

namespace vecino::engine {

// One search of a collection as it was answered.
struct AnsweredSearch {
  std::vector<float> vector;                // as it is compared
  int k = 0;                                // documents asked for
  std::vector<std::vector<ShardHit>> hits;  // of each shard, best first
  // A stored document whose vector this is: in no answer, neither found nor true.
  struct Itself {
    size_t shard = 0;
    uint64_t sequence = 0;
  };
  std::optional<Itself> itself;
  // It looks for the same as the search before it, answered another way: what is true is looked up
  // once.
  bool same_query = false;
  // Of its best, as many of a shard's own are to be found (SearchParams::aim_k); 0: k.
  int aim_k = 0;
  // And of all shards together, where these are not all that the collection has; 0: k.
  int merged_k = 0;
};

// A shard as searches saw it.
struct PinnedShard {
  std::shared_ptr<Shard> shard;
  Shard::Pinned pinned;
};

// The share of the true nearest rows that an answer holds; nullopt where there was none to find.
using MaybeRecall = std::optional<double>;

struct MeasuredSearches {
  struct One {
    MaybeRecall recall;               // of the merged_k best of all shards
    std::vector<MaybeRecall> shards;  // of each shard's own aim_k best
  };
  std::vector<One> searches;
  // Of the rows, what the filter lets pass: of all shards, and of each.
  double share = 1;
  std::vector<double> shard_shares;
};

// Compares answers with exact searches of what is pinned, all queries in one pass over the rows.
// Only rows that were there when it was pinned are true, and of these only those that still are;
// and the answers' own hits, which were there when they were found. So what was written or deleted
// meanwhile is never held against an answer, and an exact answer has recall 1. A hit that scores as
// the k-th true one, up to 1e-6 of it (of 1, where it is less), counts. Blocks for a look at every
// row; the checkpoint is called all the while, and an error it returns is passed on.
absl::StatusOr<MeasuredSearches> MeasureRecall(absl::Span<const PinnedShard> shards,
                                               const fields::Filter* filter, FilterCache* cache,
                                               absl::Span<const AnsweredSearch> searches,
                                               absl::FunctionRef<absl::Status()> checkpoint);

}  // namespace vecino::engine
