// What was measured of recall, as values.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace vecino::engine {

// Where the queries came from that were measured; see docs/recall.md.
enum class RecallSource { kLive, kStoredDocuments, kGiven };

// Searches from which on an estimate is spoken of.
inline constexpr int64_t kEnoughRecallSamples = 50;

struct RecallEstimate {
  double recall = 0;  // the mean over searches of the share found; says nothing without samples
  double lower = 0, upper = 1;  // 95% interval
  int64_t samples = 0;          // searches
  RecallSource source = RecallSource::kLive;
  // Which searches: for so many rows (0: any), under filters that let above, and up to, so much
  // pass.
  int min_k = 0, max_k = 0;
  double above_share = 0, up_to_share = 1;
  double recall_target = 0;   // the mean of what was asked for
  absl::Time oldest, newest;  // of the samples

  bool enough() const { return samples >= kEnoughRecallSamples; }
};

struct RecallStats {
  RecallEstimate live;                  // of all callers' searches that are sampled
  RecallEstimate stored_documents;      // of probes
  std::vector<RecallEstimate> by_kind;  // live, by index::SearchKind; only those with samples
};

}  // namespace vecino::engine
