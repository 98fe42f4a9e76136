// A tuning under way: what is searched for, how, and what was measured of one shard.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/recall_interval.h"
#include "server/engine/recall_measure.h"
#include "server/engine/tuning_info.h"
#include "server/fields/filter.h"
#include "server/index/recall_table.h"

namespace vecino::engine {

class Collection;

// A request that was checked, its texts embedded.
struct Tuning {
  TuneRequest request;                           // samples, shards and target filled in
  std::shared_ptr<const fields::Filter> filter;  // null: none
  std::vector<AnsweredSearch> given;             // empty: stored documents and callers' queries
  // What has the collection's id now; it is another once the collection was made anew or its
  // embeddings were switched. Null: not looked for.
  std::function<absl::StatusOr<std::shared_ptr<Collection>>()> find;
};

// One setting: what calibration takes for a recall target, times a factor; or a knob as it is.
struct TuningRung {
  double target = 0;
  double factor = 1;
  int knob = 0;  // nprobe and ef; 0: by target
};
// By what they aim at, rising. fixed: for an index whose policy says nprobe or ef_search, so that
// targets choose nothing.
std::vector<TuningRung> TuningLadder(bool fixed);
// Queries that are measured in one pass over the rows, 1 to 16: fewer where their answers, of up to
// top_k hits of each shard for each setting, would take more than 64 MiB.
size_t QueriesAtOnce(size_t rungs, size_t shards, int top_k);

// What was measured of one setting in one shard, or in all.
struct RungFigures {
  RecallSums recalls;
  double rows = 0;     // compared, the sum
  double breadth = 0;  // lists, or ef, or rows scored again, the sum
  int64_t searches = 0;
  bool exact = true;            // each search compared every row that may be found
  std::vector<double> seconds;  // of each search

  double error() const;  // standard error of the mean recall
};

// The kind of search that was measured, in one shard.
struct TunedKind {
  int k = 0;           // documents wanted
  int k_searched = 0;  // asked of the shard: one more where queries are left out of their answers
  int shards = 1;      // over which they are spread (index::RowsOfShard)
  double share = 1;    // of the shard's rows, that the filter lets pass
  bool filtered = false;
  double target = 0;
  absl::Span<const TuningRung> rungs;
  absl::Span<const RungFigures> figures;  // of each rung
};

// The curve as callers see it: points that say the same as the one before are left out.
TuningResult MakeTuningResult(absl::Span<const RungFigures> figures, double target);

}  // namespace vecino::engine
