// Which of the candidates a search returns: the best ones, groups of them, or such as differ.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "server/engine/chunking.h"
#include "server/engine/collection_query.h"
#include "server/engine/diverse_hits.h"
#include "server/engine/hit_groups.h"
#include "server/engine/metadata_value.h"
#include "server/engine/search_checks.h"

namespace vecino::engine {
namespace {

// Documents read at once to look at one part of them. One vector may have 64 KiB.
constexpr size_t kPeekStep = 64;

// The same for the vectors of all passages of a document, which are a few MiB at worst.
constexpr size_t kPeekPassages = 8;

// With the next scan for groups, so many times as many candidates as with the one before.
constexpr int kGroupGrowth = 4;

// The row of a document that its neighbours are told by: of several passages the one that was
// found, or else (-1) their mean. Empty: it has no vector.
std::vector<float> RowOf(int dimension, int passage, std::vector<float> vectors) {
  if (vectors.empty()) return vectors;
  if (passage < 0) return MeanVector(dimension, std::move(vectors));
  const auto row = vectors.begin() + static_cast<std::ptrdiff_t>(passage) * dimension;
  return {row, row + dimension};
}

// Brings a row to length 1, so that products of two are cosines. One that is empty or zero becomes
// `dimension` zeros, whose product with every row is 0.
void MakeUnit(int dimension, std::vector<float>* row) {
  double square = 0;
  for (const float x : *row) square += static_cast<double>(x) * x;
  if (square == 0) {
    row->assign(static_cast<size_t>(dimension), 0);
    return;
  }
  const double norm = std::sqrt(square);
  for (float& x : *row) x = static_cast<float>(x / norm);
}

// Merged scores have no scale of their own (those by ranks are near 1 / 60), and the cosines that
// they are weighed against do: so they become shares of the best one's.
void ScaleToBest(std::vector<float>* scores) {
  const auto best = std::max_element(scores->begin(), scores->end());
  if (best == scores->end() || *best <= 0 || !std::isfinite(*best)) return;
  const float scale = *best;
  for (float& score : *scores) score /= scale;
}

}  // namespace

// The candidates for Fetch, in the order of the reply. k: for a search for the best ones. Sets what
// Fetched says of them. Where a version is gone it stops, or with `fill` goes on without it.
absl::StatusOr<std::vector<Collection::Candidate>> Collection::Choose(const Query& query, int k,
                                                                      bool fill,
                                                                      const CallContext& context,
                                                                      Fetched* fetched) const {
  if (query.group_by != nullptr) return ChooseGroups(query, fill, context, fetched);
  if (query.diversify != nullptr) return ChooseDiverse(query, fill, context, fetched);
  return Rank(query, k, context, &fetched->complete);
}

// One part of the candidates' documents; nullopt where the version is gone, which is noted.
absl::StatusOr<std::vector<std::optional<storage::Document>>> Collection::Peek(
    std::span<const Candidate> candidates, const storage::DocumentParts& parts,
    Fetched* fetched) const {
  std::vector<std::optional<storage::Document>> documents(candidates.size());
  for (const auto& shard : shards_) {
    std::vector<uint64_t> sequences;
    std::vector<size_t> places;
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (candidates[i].shard != shard->number()) continue;
      sequences.push_back(candidates[i].hit.label);
      places.push_back(i);
    }
    if (sequences.empty()) continue;
    auto found = shard->log().GetDocuments(sequences, parts);
    if (!found.ok()) return found.status();
    bool stale = false;
    for (size_t j = 0; j < places.size(); ++j) {
      stale = stale || !(*found)[j].has_value();
      fetched->gone += !(*found)[j].has_value();
      documents[places[j]] = std::move((*found)[j]);
    }
    if (stale) fetched->stale_shards.push_back(shard->number());
  }
  return documents;
}

absl::StatusOr<std::vector<Collection::Candidate>> Collection::ChooseGroups(
    const Query& query, bool fill, const CallContext& context, Fetched* fetched) const {
  struct Known {
    bool hit = false;  // neither gone nor excluded
    GroupValue value;
  };
  // A version never changes, so what was read for one scan holds for the next.
  absl::flat_hash_map<std::pair<int, uint64_t>, Known> known;
  const int to_fill =
      std::min(GroupFillCandidates(query.top_k, *query.group_by), kMaxGroupCandidates);
  int k = std::min(std::max(100, 2 * query.wanted), kMaxGroupCandidates);
  for (;;) {
    auto candidates = Rank(query, query.Candidates(k), context, &fetched->complete);
    if (!candidates.ok()) return candidates.status();
    HitGroups groups(query.top_k, query.group_by->group_size);
    int looked_at = 0;
    bool done = false;
    for (size_t next = 0; next < candidates->size() && !done;) {
      if (absl::Status status = CheckCall(context, "grouping"); !status.ok()) return status;
      const size_t end = std::min(candidates->size(), next + kPeekStep);
      std::vector<Candidate> unknown;
      for (size_t i = next; i < end; ++i) {
        const Candidate& candidate = (*candidates)[i];
        if (!known.contains({candidate.shard, candidate.hit.label})) unknown.push_back(candidate);
      }
      auto read = Peek(unknown, {.text = false, .metadata = true, .vector = false}, fetched);
      if (!read.ok()) return read.status();
      if (fetched->gone > 0 && !fill) return std::vector<Candidate>();
      for (size_t i = 0; i < unknown.size(); ++i) {
        Known& one = known[{unknown[i].shard, unknown[i].hit.label}];
        const std::optional<storage::Document>& document = (*read)[i];
        one.hit = document.has_value() && query.FindExcluded(document->id) == nullptr;
        if (one.hit) one.value = MetadataValue(document->metadata, query.group_by->field);
      }
      for (; next < end && !done; ++next) {
        const Candidate& candidate = (*candidates)[next];
        const Known& one = known[{candidate.shard, candidate.hit.label}];
        if (!one.hit) continue;
        groups.Add(next, one.value);
        ++looked_at;
        done = groups.full() || looked_at >= kMaxGroupCandidates ||
               (groups.has_all() && looked_at >= to_fill);
      }
    }
    if (!done && !fetched->complete && k < kMaxGroupCandidates) {
      k = std::min(kGroupGrowth * k, kMaxGroupCandidates);
      continue;
    }
    std::vector<Candidate> chosen;
    for (const HitGroups::Group& group : groups.groups()) {
      for (const size_t hit : group.hits) {
        chosen.push_back((*candidates)[hit]);
        chosen.back().group = static_cast<int>(fetched->groups.size());
      }
      fetched->groups.push_back(group.value);
    }
    return chosen;
  }
}

absl::StatusOr<std::vector<Collection::Candidate>> Collection::ChooseDiverse(
    const Query& query, bool fill, const CallContext& context, Fetched* fetched) const {
  const int wanted = DiverseCandidates(query.top_k, *query.diversify);
  const bool merged = query.fusion != nullptr;
  auto candidates = Rank(query, query.Candidates(wanted), context, &fetched->complete);
  if (!candidates.ok()) return candidates.status();
  const auto d = static_cast<size_t>(info_.spec.dimension);
  std::vector<Candidate> kept;
  std::vector<float> rows, scores;
  const size_t step = info_.spec.chunking.has_value() ? kPeekPassages : kPeekStep;
  for (size_t next = 0; next < candidates->size();) {
    if (absl::Status status = CheckCall(context, "diversifying"); !status.ok()) return status;
    const size_t end = std::min(candidates->size(), next + step);
    auto read = Peek(std::span(*candidates).subspan(next, end - next),
                     {.text = false, .metadata = false, .vector = true}, fetched);
    if (!read.ok()) return read.status();
    if (fetched->gone > 0 && !fill) return std::vector<Candidate>();
    for (size_t i = next; i < end && kept.size() < static_cast<size_t>(wanted); ++i) {
      std::optional<storage::Document>& document = (*read)[i - next];
      if (!document.has_value() || query.FindExcluded(document->id) != nullptr) continue;
      kept.push_back((*candidates)[i]);
      scores.push_back(kept.back().hit.score);
      std::vector<float> row =
          RowOf(info_.spec.dimension, kept.back().passage, std::move(document->vector));
      if (merged) MakeUnit(info_.spec.dimension, &row);
      rows.insert(rows.end(), row.begin(), row.end());
    }
    next = end;
  }
  if (merged) ScaleToBest(&scores);
  const index::Metric metric = !merged && info_.spec.metric == Metric::kL2
                                   ? index::Metric::kL2
                                   : index::Metric::kInnerProduct;
  const auto order = ChooseDiverseHits(metric, rows, d, scores, query.diversify->lambda,
                                       static_cast<size_t>(query.top_k),
                                       [&] { return CheckCall(context, "diversifying"); });
  if (!order.ok()) return order.status();
  std::vector<Candidate> chosen;
  for (const size_t place : *order) chosen.push_back(kept[place]);
  return chosen;
}

}  // namespace vecino::engine
