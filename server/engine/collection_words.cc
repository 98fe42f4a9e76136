// How a search for words, alone or beside one for meaning, finds its candidates.
#include <deque>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "server/engine/collection_query.h"
#include "server/engine/fusion.h"
#include "server/fields/words_view.h"

namespace vecino::engine {

// The best k of each shard by BM25, in no order. Frequencies of words are those of all shards
// together, so that their scores compare.
absl::StatusOr<std::vector<Collection::Candidate>> Collection::ScanWords(
    const Query& query, int k, const CallContext& context) const {
  std::deque<fields::WordsView> views;
  std::vector<fields::LexicalPart> parts;
  std::vector<size_t> firsts;  // of each shard's parts
  // Labels of what has expired; before the views, which may have more of it than is known here.
  std::vector<absl::flat_hash_set<uint64_t>> expired;
  size_t expired_count = 0;
  for (const auto& shard : shards_) {
    const std::vector<uint64_t> due = shard->Expired();
    expired.emplace_back(due.begin(), due.end());
    expired_count += due.size();
    const fields::WordsView& view = views.emplace_back(shard->fields(), query.filter.get());
    firsts.push_back(parts.size());
    const auto own = view.Parts(static_cast<uint32_t>(views.size() - 1));
    parts.insert(parts.end(), own.begin(), own.end());
  }
  fields::Bm25 options;
  options.k = k + static_cast<int>(expired_count);
  const auto hits = fields::SearchBm25(query.words, parts, options,
                                       [&] { return CheckCall(context, "searching for words"); });
  if (!hits.ok()) return hits.status();
  std::vector<Candidate> candidates;
  for (const fields::LexicalHit& hit : *hits) {
    const uint32_t shard = parts[hit.part].group;
    const uint64_t label = views[shard].Label(hit.part - firsts[shard], hit.slot);
    if (expired[shard].contains(label)) continue;
    candidates.push_back(
        {.shard = shards_[shard]->number(), .hit = {label, hit.score}, .dense = {}, .lexical = {}});
  }
  return candidates;
}

// What one of the two rankings has among its best.
absl::StatusOr<std::vector<Collection::Candidate>> Collection::ScanBoth(
    const Query& query, int k, const CallContext& context) const {
  const int candidates = std::max(k, FusionCandidates(query.top_k, *query.fusion));
  absl::flat_hash_map<std::pair<int, uint64_t>, int> passages;  // by shard and sequence number
  const auto rank = [&](float weight, bool by_words) -> absl::StatusOr<std::vector<RankedHit>> {
    std::vector<RankedHit> ranked;
    if (weight == 0) return ranked;
    auto found =
        by_words ? ScanWords(query, candidates, context) : ScanVectors(query, candidates, context);
    if (!found.ok()) return found.status();
    const index::Metric metric = by_words || info_.spec.metric != Metric::kL2
                                     ? index::Metric::kInnerProduct
                                     : index::Metric::kL2;
    KeepBest(metric, candidates, &*found);
    for (const Candidate& one : *found) {
      ranked.push_back({one.shard, one.hit.label, one.hit.score});
      if (one.passage >= 0) passages[{one.shard, one.hit.label}] = one.passage;
    }
    return ranked;
  };
  const auto dense = rank(query.fusion->dense_weight, false);
  if (!dense.ok()) return dense.status();
  const auto lexical = rank(query.fusion->lexical_weight, true);
  if (!lexical.ok()) return lexical.status();
  std::vector<Candidate> both;
  for (const FusedHit& hit : Fuse(*query.fusion, *dense, *lexical)) {
    const auto passage = passages.find({hit.shard, hit.label});
    both.push_back({.shard = hit.shard,
                    .hit = {hit.label, hit.score},
                    .dense = hit.dense,
                    .lexical = hit.lexical,
                    .passage = passage == passages.end() ? -1 : passage->second});
  }
  return both;
}

}  // namespace vecino::engine
