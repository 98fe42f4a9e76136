#include "server/engine/fusion.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace vecino::engine {
namespace {

// What the hit at `rank`, from 0, adds to the merged score.
double ShareOf(const Fusion& fusion, double weight, std::span<const RankedHit> ranking,
               size_t rank) {
  if (fusion.method == Fusion::Method::kRrf) {
    return weight / (fusion.rank_constant + static_cast<double>(rank) + 1);
  }
  const double best = ranking.front().score, worst = ranking.back().score;
  return weight * (best == worst ? 1 : (ranking[rank].score - worst) / (best - worst));
}

absl::Status CheckWeight(std::string_view field, float weight) {
  if (weight >= 0 && std::isfinite(weight)) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", weight, "; it must be 0 or more, and finite"));
}

}  // namespace

std::vector<FusedHit> Fuse(const Fusion& fusion, std::span<const RankedHit> dense,
                           std::span<const RankedHit> lexical) {
  struct Sum {
    double score = 0;
    FusedHit hit;
  };
  std::vector<Sum> sums;
  absl::flat_hash_map<std::pair<int, uint64_t>, size_t> places;
  const auto add = [&](std::span<const RankedHit> ranking, double weight,
                       std::optional<float> FusedHit::*own) {
    for (size_t rank = 0; rank < ranking.size(); ++rank) {
      const RankedHit& hit = ranking[rank];
      const auto [it, added] = places.try_emplace(std::pair(hit.shard, hit.label), sums.size());
      if (added) sums.push_back({0, {hit.shard, hit.label}});
      Sum& sum = sums[it->second];
      sum.score += ShareOf(fusion, weight, ranking, rank);
      sum.hit.*own = hit.score;
    }
  };
  add(dense, fusion.dense_weight, &FusedHit::dense);
  add(lexical, fusion.lexical_weight, &FusedHit::lexical);
  std::vector<FusedHit> fused;
  for (Sum& sum : sums) {
    sum.hit.score = static_cast<float>(sum.score);
    fused.push_back(sum.hit);
  }
  std::sort(fused.begin(), fused.end(), [](const FusedHit& a, const FusedHit& b) {
    if (a.score != b.score) return a.score > b.score;
    return std::pair(a.label, a.shard) < std::pair(b.label, b.shard);
  });
  return fused;
}

int FusionCandidates(int top_k, const Fusion& fusion) {
  if (fusion.candidates != 0) return fusion.candidates;
  return std::min(std::max(100, 2 * top_k), Limits::kMaxTopK);
}

absl::Status CheckFusion(int top_k, const Fusion& fusion) {
  absl::Status status = CheckWeight("fusion.dense_weight", fusion.dense_weight);
  if (status.ok()) status = CheckWeight("fusion.lexical_weight", fusion.lexical_weight);
  if (!status.ok()) return status;
  if (fusion.dense_weight == 0 && fusion.lexical_weight == 0) {
    return InvalidField("fusion", "has two weights of 0, which rank nothing; raise one of them");
  }
  if (fusion.rank_constant < 1 || fusion.rank_constant > Limits::kMaxRankConstant) {
    return InvalidField(
        "fusion.rank_constant",
        absl::StrCat("is ", fusion.rank_constant, "; it must be 1 to ", Limits::kMaxRankConstant));
  }
  const int candidates = fusion.candidates;
  if (candidates != 0 && (candidates < top_k || candidates > Limits::kMaxTopK)) {
    return InvalidField("fusion.candidates",
                        absl::StrCat("is ", candidates, ", must be top_k, which is ", top_k,
                                     ", to ", Limits::kMaxTopK));
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
