// One ranking made of two.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/types.h"

namespace vecino::engine {

// A document's place in a ranking is where it stands there, best first.
struct RankedHit {
  int shard = 0;
  uint64_t label = 0;
  float score = 0;
};

struct FusedHit {
  int shard = 0;
  uint64_t label = 0;
  float score = 0;  // merged; higher is better
  std::optional<float> dense, lexical;
};

// Merges the rankings, best first; equal scores by ascending label, then by shard.
//   kRrf (Cormack, Clarke and Büttcher 2009): the sum of weight / (rank_constant + rank), ranks
//   from 1. kWeightedScores: the sum of weight · score, where each ranking's scores are scaled so
//   that its worst is 0 and its best 1; 1 for all when they are equal.
// A ranking in which a document is not adds nothing. Scores may rise or fall with nearness, as long
// as each ranking has its best first.
std::vector<FusedHit> Fuse(const Fusion& fusion, std::span<const RankedHit> dense,
                           std::span<const RankedHit> lexical);

// Hits to take of each ranking.
int FusionCandidates(int top_k, const Fusion& fusion);

// INVALID_ARGUMENT naming the field, such as `fusion.candidates`.
absl::Status CheckFusion(int top_k, const Fusion& fusion);

}  // namespace vecino::engine
