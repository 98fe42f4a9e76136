// A tuning that a caller asks for, and what came out.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/recall_evaluation.h"

namespace vecino::engine {

struct TuneRequest {
  // Queries, k, filter and target; not exact, nprobe, ef_search, rerank. samples: of stored
  // documents and callers' latest queries, kDefaultSamples for 0.
  RecallRequest search;
  std::vector<int> shards;  // empty: all

  static constexpr int kDefaultSamples = 500;
};

// One setting of the index, measured.
struct TuningPoint {
  int breadth = 0;          // mean: lists scanned of a shard, or ef, or rows scored again; 0: exact
  double recall = 0;        // mean share of the true best k found
  double error = 0;         // its standard error
  absl::Duration p50, p99;  // of a search of all shards, processor time of one thread
  int64_t rows_scanned = 0;  // compared by codes or vectors, the mean
  bool exact = false;        // every row that may be found was compared

  bool operator==(const TuningPoint&) const = default;
};

struct TuningResult {
  std::vector<TuningPoint> points;  // as they were aimed higher, then the exact one if there is any
  int recommended = -1;  // of points: the cheapest sure to reach the target; -1: none does
  double target = 0;
  int queries = 0;       // that were measured
  int live_queries = 0;  // of these, callers' latest
  double share = 1;      // of the documents, that the filter lets pass

  bool operator==(const TuningResult&) const = default;
};

}  // namespace vecino::engine
