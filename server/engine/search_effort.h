// What callers are told of how a search was answered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace vecino::engine {

// Why a search returned fewer hits, or groups, than it was asked for.
enum class Shortfall { kNone, kNoMoreDocuments, kParameters, kCandidates };

// What a search looked at, over all shards; docs/recall.md.
struct SearchEffort {
  int nprobe = 0;             // lists scanned of a shard, the mean of those that have some
  int ef = 0;                 // breadth of the graph search, the greatest
  int64_t rows_scanned = 0;   // compared by codes or vectors
  int64_t rows_rescored = 0;  // of these, by full vectors after that
  double expected_recall = 1;
  bool exact = true;  // every row that may be found was compared
  Shortfall shortfall = Shortfall::kNone;
};

// What a search did in one shard; the fields are those of the contract.
struct ShardPlan {
  int shard = 0;
  std::string plan;
  int nprobe = 0, nlist = 0, ef = 0;
  int64_t rows_scanned = 0, rows_reranked = 0, rows_rescored = 0;
  int64_t passing_rows = 0;
  double expected_recall = 1;
};

struct SearchExplanation {
  struct Stage {
    std::string name;
    absl::Duration time;
  };
  std::vector<ShardPlan> shards;
  double selectivity = 1;
  double recall_target = 0;  // 0: exact, or the caller's own parameters
  std::vector<Stage> stages;
  std::optional<double> verified_recall;
};

}  // namespace vecino::engine
