#include "server/engine/recall_measure.h"

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_set.h"
#include "server/engine/shard_filter.h"
#include "server/index/exact_scan.h"
#include "server/index/top_k.h"

namespace vecino::engine {
namespace {

using index::Hit;

void SortBest(index::Metric metric, size_t k, std::vector<Hit>* hits) {
  std::sort(hits->begin(), hits->end(),
            [metric](const Hit& a, const Hit& b) { return RanksBefore(metric, a, b); });
  if (hits->size() > k) hits->resize(k);
}

bool IsAsGood(index::Metric metric, float score, float last) {
  const double slack = 1e-6 * std::max(1.0, std::abs(static_cast<double>(last)));
  return metric == index::Metric::kL2 ? score <= last + slack : score >= last - slack;
}

// Of the best `most` of the truth. truth, answer: best first.
MaybeRecall RecallOf(index::Metric metric, const std::vector<Hit>& truth,
                     const std::vector<Hit>& answer, size_t most) {
  if (truth.empty()) return std::nullopt;
  const size_t wanted = std::min(truth.size(), most);
  const float last = truth[wanted - 1].score;
  const auto found = std::count_if(answer.begin(), answer.end(), [&](const Hit& hit) {
    return IsAsGood(metric, hit.score, last);
  });
  return std::min(1.0, static_cast<double>(found) / static_cast<double>(wanted));
}

// Adds what the answer found and the exact search did not, since it is gone or came after.
void AddFound(const std::vector<Hit>& answer, std::vector<Hit>* truth) {
  absl::flat_hash_set<uint64_t> known;
  for (const Hit& hit : *truth) known.insert(hit.label);
  for (const Hit& hit : answer) {
    if (!known.contains(hit.label)) truth->push_back(hit);
  }
}

void Drop(uint64_t label, std::vector<Hit>* hits) {
  std::erase_if(*hits, [label](const Hit& hit) { return hit.label == label; });
}

// Documents of a chunked collection are found through their passages, so only a search for
// documents tells which are the best.
absl::StatusOr<std::vector<Hit>> ExactDocuments(const PinnedShard& one,
                                                const AnsweredSearch& search,
                                                const index::RowFilter* filter,
                                                absl::FunctionRef<absl::Status()> checkpoint) {
  index::SearchParams params;
  params.k = search.k + (search.itself.has_value() ? 1 : 0);
  params.exact = true;
  params.filter = filter;
  auto found = one.shard->SearchPinned(one.pinned, search.vector.data(), params, checkpoint);
  if (!found.ok()) return found.status();
  std::vector<Hit> hits;
  for (const ShardHit& hit : *found) {
    if (hit.sequence <= one.pinned.applied) hits.push_back({hit.sequence, hit.score});
  }
  return hits;
}

}  // namespace

absl::StatusOr<MeasuredSearches> MeasureRecall(absl::Span<const PinnedShard> shards,
                                               const fields::Filter* filter, FilterCache* cache,
                                               absl::Span<const AnsweredSearch> searches,
                                               absl::FunctionRef<absl::Status()> checkpoint) {
  MeasuredSearches measured;
  measured.searches.resize(searches.size());
  if (shards.empty() || searches.empty()) return measured;
  const index::Metric metric = shards.front().shard->metric();
  // Of all shards: sequence numbers of two shards may be the same, which matters to nothing here.
  std::vector<std::vector<Hit>> truths(searches.size()), answers(searches.size());
  index::ExactCount all;
  for (size_t s = 0; s < shards.size(); ++s) {
    const Shard& shard = *shards[s].shard;
    const Shard::Pinned& pinned = shards[s].pinned;
    std::vector<index::TopK> tops;
    tops.reserve(searches.size());  // pointed into
    std::vector<index::ExactQuery> queries;
    const bool chunked = shard.labels().chunked();
    for (const AnsweredSearch& search : searches) {
      if (chunked) break;  // the scan below counts rows only
      if (search.same_query && !queries.empty()) continue;
      queries.push_back(
          {search.vector.data(),
           &tops.emplace_back(metric, search.k + (search.itself.has_value() ? 1 : 0))});
    }
    std::optional<ShardFilter> bits;
    if (filter != nullptr) bits.emplace(shard.fields(), *filter, shard.labels(), cache, nullptr);
    const auto count =
        index::ScanExactly(*pinned.view, metric, static_cast<size_t>(shard.dimension()), queries,
                           {.filter = bits.has_value() ? &*bits : nullptr,
                            .last_label = shard.labels().Last(pinned.applied),
                            .left_out = chunked ? absl::Span<const uint64_t>() : pinned.expired},
                           checkpoint);
    if (!count.ok()) return count.status();
    all.live += count->live;
    all.passing += count->passing;
    const auto share = [](const index::ExactCount& of) {
      return of.live == 0 ? 1 : static_cast<double>(of.passing) / static_cast<double>(of.live);
    };
    measured.shard_shares.push_back(share(*count));
    measured.share = share(all);
    std::vector<Hit> best;  // of the query
    for (size_t i = 0, next = 0; i < searches.size(); ++i) {
      const auto k = static_cast<size_t>(searches[i].k);
      if (i > 0 && searches[i].same_query) {
        // As before.
      } else if (chunked) {
        auto exact =
            ExactDocuments(shards[s], searches[i], bits.has_value() ? &*bits : nullptr, checkpoint);
        if (!exact.ok()) return exact.status();
        best = *std::move(exact);
      } else {
        best = tops[next++].Take();
      }
      std::vector<Hit> truth = best, answer;
      for (const ShardHit& hit : searches[i].hits[s]) answer.push_back({hit.sequence, hit.score});
      const auto& itself = searches[i].itself;
      if (itself.has_value() && itself->shard == s) {
        Drop(itself->sequence, &truth);
        Drop(itself->sequence, &answer);
      }
      AddFound(answer, &truth);
      SortBest(metric, k, &truth);
      SortBest(metric, k, &answer);
      const auto aimed = searches[i].aim_k > 0 ? static_cast<size_t>(searches[i].aim_k) : k;
      measured.searches[i].shards.push_back(RecallOf(metric, truth, answer, aimed));
      truths[i].insert(truths[i].end(), truth.begin(), truth.end());
      answers[i].insert(answers[i].end(), answer.begin(), answer.end());
      // At once, so that many shards take no more memory than two.
      SortBest(metric, k, &truths[i]);
      SortBest(metric, k, &answers[i]);
    }
  }
  for (size_t i = 0; i < searches.size(); ++i) {
    const int k = searches[i].merged_k > 0 ? searches[i].merged_k : searches[i].k;
    measured.searches[i].recall = RecallOf(metric, truths[i], answers[i], static_cast<size_t>(k));
  }
  return measured;
}

}  // namespace vecino::engine
