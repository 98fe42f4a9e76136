// Telling how a search was answered.
#include <algorithm>
#include <bit>
#include <utility>

#include "absl/time/clock.h"
#include "server/engine/collection_query.h"
#include "server/engine/recall_measure.h"
#include "server/engine/shard_filter.h"
#include "server/engine/shard_of.h"

namespace vecino::engine {
namespace {

struct Rows {
  int64_t live = 0, passing = 0;
};

// Rows of a part that live and, unless `allowed` is null, pass.
void Count(const index::Tombstones& dead, int64_t rows, const uint64_t* allowed, Rows* counts) {
  for (int64_t first = 0; first < rows; first += 64) {
    const auto word = static_cast<size_t>(first / 64);
    uint64_t bits = ~dead.word(word);
    if (rows - first < 64) bits &= (uint64_t{1} << (rows - first)) - 1;
    counts->live += std::popcount(bits);
    counts->passing += std::popcount(allowed == nullptr ? bits : bits & allowed[word]);
  }
}

Rows CountRows(const PinnedShard& pinned, const fields::Filter* filter, FilterCache* cache) {
  std::optional<ShardFilter> bits;
  if (filter != nullptr) {
    bits.emplace(pinned.shard->fields(), *filter, pinned.shard->labels(), cache, /*maps=*/nullptr);
  }
  const index::View& view = *pinned.pinned.view;
  Rows rows;
  for (const index::SegmentRows& part : view.segments) {
    Count(*part.dead, part.segment->size(),
          bits.has_value() ? bits->OfSegment(*part.segment).words : nullptr, &rows);
  }
  const auto of_tail = [&](const index::Tail& tail) {
    if (!bits.has_value()) return Count(tail.tombstones(), tail.size(), nullptr, &rows);
    const index::SlotBits allowed = bits->OfTail(tail);
    Count(tail.tombstones(), std::min<int64_t>(tail.size(), allowed.slots), allowed.words, &rows);
  };
  for (const auto& tail : view.frozen) of_tail(*tail);
  of_tail(*view.tail);
  // What has expired and is not deleted yet.
  const auto expired = static_cast<int64_t>(pinned.pinned.expired.size());
  if (!bits.has_value()) rows.passing = std::max<int64_t>(0, rows.passing - expired);
  rows.live = std::max<int64_t>(rows.passing, rows.live - expired);
  return rows;
}

}  // namespace

Shortfall Collection::ShortfallOf(const Query& query, const Fetched& fetched, size_t found,
                                  bool exact) const {
  if (found >= static_cast<size_t>(query.top_k)) return Shortfall::kNone;
  if (!fetched.complete) return Shortfall::kCandidates;
  // Every search goes on until it has as many rows as it was asked for, or has seen all. But which
  // of them are good enough was said of those that were looked at.
  const bool own = query.params.nprobe > 0 || query.params.ef > 0 || query.params.rerank > 0;
  return query.min_score.has_value() && own && !exact ? Shortfall::kParameters
                                                      : Shortfall::kNoMoreDocuments;
}

absl::StatusOr<SearchExplanation> Collection::MakeExplanation(const SearchRequest& request,
                                                              const Query& query,
                                                              const SearchResult& result,
                                                              SearchTrace::Details* details,
                                                              const CallContext& context) const {
  SearchExplanation explanation;
  const bool own = query.params.nprobe > 0 || query.params.ef > 0 || query.params.rerank > 0;
  if (!query.params.exact && !own) explanation.recall_target = query.params.recall_target;
  const auto stage = [&](const char* name, absl::Duration time) {
    explanation.stages.push_back({name, time});
  };
  if (result.embed_time > absl::ZeroDuration()) stage("embed", result.embed_time);
  if (query.filter != nullptr) stage("filter", details->filter_time);
  stage("scan", result.search_time - details->filter_time);
  stage("fetch", result.fetch_time);
  RecallTask& task = details->task;
  explanation.shards = std::move(details->shards);
  Rows all;
  for (size_t i = 0; i < task.shards.size(); ++i) {
    const Rows rows = CountRows(task.shards[i], query.filter.get(), context_.filters);
    all.live += rows.live;
    all.passing += rows.passing;
    if (i < explanation.shards.size()) explanation.shards[i].passing_rows = rows.passing;
  }
  if (all.live > 0) {
    explanation.selectivity = static_cast<double>(all.passing) / static_cast<double>(all.live);
  }
  if (!request.explain->verify) return explanation;

  const absl::Time start = absl::Now();
  if (task.shards.empty()) {
    explanation.verified_recall = 1;  // words alone, which are compared exactly
    return explanation;
  }
  // Documents that are left out of the answer are left out of the truth.
  if (!query.exclude.empty()) {
    auto documents = Get(query.exclude, {.text = false, .metadata = false, .vector = false},
                         std::numeric_limits<size_t>::max());
    if (!documents.ok()) return documents.status();
    for (const std::optional<storage::Document>& document : *documents) {
      if (!document.has_value()) continue;
      const auto shard = static_cast<size_t>(ShardOf(document->id, shard_count()));
      std::vector<uint64_t>& expired = task.shards[shard].pinned.expired;
      expired.insert(std::upper_bound(expired.begin(), expired.end(), document->sequence),
                     document->sequence);
      std::erase_if(task.search.hits[shard],
                    [&](const ShardHit& hit) { return hit.sequence == document->sequence; });
    }
    task.search.k -= static_cast<int>(query.exclude.size());
  }
  const auto check = [&] { return CheckCall(context, "the answer was verified"); };
  const auto measured =
      MeasureRecall(task.shards, query.filter.get(), context_.filters, {&task.search, 1}, check);
  if (!measured.ok()) return measured.status();
  explanation.verified_recall = measured->searches.front().recall.value_or(1);
  stage("verify", absl::Now() - start);
  return explanation;
}

}  // namespace vecino::engine
