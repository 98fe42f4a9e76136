// A measurement of recall that a caller asks for.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/recall_estimate.h"

namespace vecino::engine {

struct RecallRequest {
  // Queries; `samples` stored documents where both are empty.
  std::vector<std::vector<float>> vectors;
  std::vector<std::string> texts;
  int samples = 0;  // 0: the default
  int top_k = 10;
  std::string filter;
  // As in SearchRequest.
  double recall_target = 0;
  bool exact = false;
  int nprobe = 0;
  int ef_search = 0;
  int rerank = 0;

  static constexpr int kDefaultSamples = 200, kMaxSamples = 2000, kMaxQueries = 1000;
};

struct RecallEvaluation {
  RecallEstimate recall;                   // of the answers
  std::vector<RecallEstimate> shards;      // of each shard's own, by number
  absl::Duration search_time, exact_time;  // means
};

}  // namespace vecino::engine
