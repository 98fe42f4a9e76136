// How a search is answered.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/collection_query.h"
#include "server/engine/query_expression.h"
#include "server/engine/read_budget.h"
#include "server/engine/search_checks.h"
#include "server/engine/shard_filter.h"
#include "server/engine/shard_of.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

// Candidates beyond what was asked for, to take the places of hits that were deleted meanwhile; for
// the last scan only, as every candidate makes a scan wider.
constexpr int kSlack = 8;

// Scans beside writers before one that makes them wait.
constexpr int kMaxScans = 4;

constexpr size_t kMaxBatchTexts = Limits::kMaxBatch;

}  // namespace

absl::Status Collection::WaitForTokens(const std::vector<WriteToken>& tokens,
                                       const CallContext& context) const {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].shard < 0 || tokens[i].shard >= shard_count()) {
      return InvalidField(absl::StrCat("write_tokens[", i, "].shard"),
                          absl::StrCat("is ", tokens[i].shard, ", collection `", info_.spec.id,
                                       "` has shards 0 to ", shard_count() - 1));
    }
  }
  CallContext patience = context;  // for all of them together
  patience.deadline = std::min(context.deadline, absl::Now() + kMaxTokenWait);
  TokenWaits::Place place(context_.token_waits);
  for (const WriteToken& token : tokens) {
    const Shard& shard = *shards_[token.shard];
    if (shard.IsApplied(token.sequence)) continue;
    // Of another side: it was the one that callers saw, and so all its writes were carried here.
    const uint64_t range = storage::RangeOf(token.sequence);
    if (range != range_.load() && range <= last_range_.load()) continue;
    if (absl::Status status = place.Take(); !status.ok()) return status;
    absl::Status status = shard.WaitApplied(token.sequence, patience, *context_.token_waits);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ShardHit>> Collection::SearchFiltered(
    const Shard& shard, const fields::Filter* filter, index::SearchParams params,
    const ScanFn& scan, absl::Duration* filter_time) const {
  std::optional<ShardFilter> bits;
  if (filter != nullptr) {
    bits.emplace(shard.fields(), *filter, shard.labels(), context_.filters, context_.slot_maps,
                 filter_time, /*counts=*/!params.exact);
    params.filter = &*bits;
  }
  auto hits = scan(params);
  // An approximate search may have looked where few rows pass. There are as many as were asked
  // for, if so many exist.
  if (hits.ok() && filter != nullptr && !params.exact &&
      hits->size() < static_cast<size_t>(params.k) && shard.MorePass(*bits, hits->size())) {
    context_.metrics->filter_rescans.Add();
    params.exact = true;
    if (params.report != nullptr) params.report->Again();
    hits = scan(params);
  }
  return hits;
}

// The best k of each shard, in no order.
absl::StatusOr<std::vector<Collection::Candidate>> Collection::ScanVectors(
    const Query& query, int k, const CallContext& context) const {
  std::vector<Candidate> candidates;
  index::SearchParams params = query.params;
  params.k = k;
  params.aim_k = AimedAt(k);
  RecallTask* const sample = query.sample;
  if (sample != nullptr) BeginSample(query, k, sample);
  SearchTrace* const trace = query.trace;
  if (trace != nullptr) trace->BeginScan();
  absl::Duration* const filter_time =
      trace == nullptr || trace->details() == nullptr ? nullptr : &trace->details()->filter_time;
  const auto check = [&] { return CheckCall(context, "scanning"); };
  for (const auto& shard : shards_) {
    if (trace != nullptr) params.report = trace->BeginShard();
    Shard::Pinned* const pinned =
        sample == nullptr ? nullptr : &sample->shards.emplace_back(PinnedShard{shard, {}}).pinned;
    auto hits = SearchFiltered(
        *shard, query.filter.get(), params,
        [&](const index::SearchParams& filled) {
          return shard->Search(query.vector.data(), filled, check, pinned);
        },
        filter_time);
    if (!hits.ok()) return hits.status();
    if (trace != nullptr) trace->EndShard(shard->number());
    for (const ShardHit& hit : *hits) {
      candidates.push_back({.shard = shard->number(),
                            .hit = {hit.sequence, hit.score},
                            .dense = {},
                            .lexical = {},
                            .passage = hit.passage});
    }
    if (sample == nullptr) continue;
    sample->search.hits.push_back(*std::move(hits));
    sample->all_codes.push_back(trace != nullptr && trace->report().all_codes);
  }
  return candidates;
}

void Collection::KeepBest(index::Metric metric, int k, std::vector<Candidate>* candidates) {
  // Equal scores and equal sequence numbers of two shards come by shard.
  std::sort(candidates->begin(), candidates->end(), [&](const Candidate& a, const Candidate& b) {
    if (index::RanksBefore(metric, a.hit, b.hit)) return true;
    return !index::RanksBefore(metric, b.hit, a.hit) && a.shard < b.shard;
  });
  if (candidates->size() > static_cast<size_t>(k)) candidates->resize(static_cast<size_t>(k));
}

// The best k candidates.
absl::StatusOr<std::vector<Collection::Candidate>> Collection::Scan(
    const Query& query, int k, const CallContext& context) const {
  auto candidates = query.fusion != nullptr ? ScanBoth(query, k, context)
                    : query.by_words        ? ScanWords(query, k, context)
                                            : ScanVectors(query, k, context);
  if (candidates.ok()) KeepBest(query.ranking, k, &*candidates);
  return candidates;
}

// The best k candidates that are good enough and behind the query's position. *complete: whether
// there are no others.
absl::StatusOr<std::vector<Collection::Candidate>> Collection::Rank(const Query& query, int k,
                                                                    const CallContext& context,
                                                                    bool* complete) const {
  const auto wanted = static_cast<size_t>(k);
  if (query.after.has_value()) k = std::min(k + query.after->depth, kMaxRanked);
  for (;;) {
    auto candidates = Scan(query, k, context);
    if (!candidates.ok()) return candidates;
    *complete = candidates->size() < static_cast<size_t>(k);
    if (!query.min_score.has_value() && !query.after.has_value()) return candidates;
    const index::Metric metric = query.ranking;
    if (query.min_score.has_value()) {
      // Of equal scores none is worse, whatever its label.
      const index::Hit least{~uint64_t{0}, *query.min_score};
      const auto worse = std::partition_point(
          candidates->begin(), candidates->end(),
          [&](const Candidate& one) { return !index::RanksBefore(metric, least, one.hit); });
      if (worse != candidates->end()) *complete = true;
      candidates->erase(worse, candidates->end());
    }
    if (query.after.has_value()) {
      const index::Hit last{query.after->sequence, query.after->score};
      const auto behind =
          std::partition_point(candidates->begin(), candidates->end(), [&](const Candidate& one) {
            if (index::RanksBefore(metric, one.hit, last)) return true;
            return !index::RanksBefore(metric, last, one.hit) && one.shard <= query.after->shard;
          });
      candidates->erase(candidates->begin(), behind);
    }
    // Rows that came since the page before may stand before the position, too.
    if (*complete || k >= kMaxRanked) return candidates;
    if (candidates->size() >= wanted) {
      candidates->resize(wanted);
      return candidates;
    }
    k = std::min(2 * k, kMaxRanked);
  }
}

// The hits of a query for ids and times, of what the cache knows of versions that the scan saw
// live. False when it does not know all, or an update was seen with its old and its new version;
// then the store is to be asked, which has one of them.
bool Collection::FetchHeads(const Query& query, const std::vector<Candidate>& candidates,
                            Fetched* fetched) const {
  const auto wanted = static_cast<size_t>(query.wanted);
  ReadBudget budget(query.max_bytes);
  absl::flat_hash_set<std::string_view> ids;
  std::vector<SearchHit> hits;
  hits.reserve(std::min(wanted, candidates.size()));  // `ids` points into it
  size_t next = 0;
  for (; next < candidates.size() && hits.size() < wanted; ++next) {
    const Candidate& candidate = candidates[next];
    storage::Document document;
    if (!context_.heads->Find({uid_, static_cast<uint32_t>(candidate.shard), candidate.hit.label},
                              &document)) {
      return false;
    }
    if (const std::string* excluded = query.FindExcluded(document.id); excluded != nullptr) {
      if (!ids.insert(*excluded).second) return false;
      continue;
    }
    if (!budget.Add(ReplyBytes(document)).ok()) return false;
    hits.push_back({std::move(document),
                    candidate.hit.score,
                    candidate.group,
                    candidate.dense,
                    candidate.lexical,
                    {}});
    if (!ids.insert(hits.back().document.id).second) return false;
  }
  fetched->hits = std::move(hits);
  fetched->left_over = next < candidates.size();
  return true;
}

// Fetches candidates, best first, until there are enough. When a version is gone it stops after
// those it has asked for, or with `fill` goes on with further candidates.
absl::Status Collection::Fetch(const Query& query, const std::vector<Candidate>& candidates,
                               bool fill, Fetched* fetched) const {
  if (query.heads_only() && !fill && FetchHeads(query, candidates, fetched)) {
    return absl::OkStatus();
  }
  const auto wanted = static_cast<size_t>(query.wanted);
  ReadBudget budget(query.max_bytes);
  size_t next = 0;
  while (next < candidates.size() && fetched->hits.size() < wanted) {
    // No more than can be in the reply, so that all that is read counts.
    const size_t end = std::min(candidates.size(), next + wanted - fetched->hits.size());
    std::vector<std::optional<storage::Document>> documents(end - next);
    for (const auto& shard : shards_) {
      std::vector<uint64_t> sequences;
      std::vector<size_t> places;
      for (size_t i = next; i < end; ++i) {
        if (candidates[i].shard != shard->number()) continue;
        sequences.push_back(candidates[i].hit.label);
        places.push_back(i - next);
      }
      if (sequences.empty()) continue;
      auto found = ReadDocuments(
          shard->log(), sequences, query.parts,
          [&](size_t, const storage::Document& document) {
            return query.FindExcluded(document.id) == nullptr ? 1 : 0;
          },
          &budget);
      if (!found.ok()) return found.status();
      bool stale = false;
      for (size_t j = 0; j < places.size(); ++j) {
        stale = stale || !(*found)[j].has_value();
        fetched->gone += !(*found)[j].has_value();
        documents[places[j]] = std::move((*found)[j]);
      }
      if (stale) fetched->stale_shards.push_back(shard->number());
    }
    for (size_t i = next; i < end; ++i) {
      std::optional<storage::Document>& document = documents[i - next];
      if (!document.has_value()) continue;
      if (query.heads_only()) {
        context_.heads->Put({uid_, static_cast<uint32_t>(candidates[i].shard), document->sequence},
                            *document);
      }
      if (query.FindExcluded(document->id) != nullptr) continue;
      fetched->hits.push_back({*std::move(document),
                               candidates[i].hit.score,
                               candidates[i].group,
                               candidates[i].dense,
                               candidates[i].lexical,
                               {}});
      fetched->passages.push_back(candidates[i].passage);
    }
    next = end;
    if (fetched->gone > 0 && !fill) break;
  }
  fetched->left_over = next < candidates.size();
  return absl::OkStatus();
}

// Searches while the writers of every shard from `shard` on are kept waiting, so that nothing is
// gone between scan and fetch. Shards are always taken in this order, so two such searches never
// wait for each other.
absl::Status Collection::SearchQuietly(const Query& query, int shard, const CallContext& context,
                                       Fetched* fetched) const {
  if (shard < shard_count()) {
    return shards_[shard]->WhileQuiet(
        [&] { return SearchQuietly(query, shard + 1, context, fetched); }, context);
  }
  const auto candidates =
      Choose(query, query.Candidates(query.wanted), /*fill=*/true, context, fetched);
  if (!candidates.ok()) return candidates.status();
  return Fetch(query, *candidates, /*fill=*/true, fetched);
}

absl::StatusOr<SearchResult> Collection::Search(const SearchRequest& request,
                                                const CallContext& context) const {
  if (absl::Status status = CheckSearch(request); !status.ok()) return status;
  if (auto reranker = FindSearchReranker(request); !reranker.ok()) return reranker.status();
  if (absl::Status status = CheckCall(context, "embedding"); !status.ok()) return status;
  if (absl::Status status = WaitForTokens(request.tokens, context); !status.ok()) return status;
  // After the writes that are waited for, which may bring the field; before anything is embedded.
  auto filter = ReadFilter(request.filter);
  if (!filter.ok()) return filter.status();
  std::vector<const TextQuery*> texts;
  AppendTexts(request, &texts);
  if (texts.empty()) {
    return SearchEmbedded(request, *std::move(filter), {}, absl::ZeroDuration(), request.max_bytes,
                          context);
  }
  if (absl::Status status = CheckModel(); !status.ok()) return status;
  const absl::Time start = absl::Now();
  auto embedded = EmbedQueries(texts, context);
  if (!embedded.ok()) return embedded.status();
  return SearchEmbedded(request, *std::move(filter), *embedded, absl::Now() - start,
                        request.max_bytes, context);
}

absl::StatusOr<SearchBatchResult> Collection::SearchBatch(std::span<const SearchRequest> requests,
                                                          size_t max_bytes,
                                                          const CallContext& context) const {
  if (requests.empty() || requests.size() > static_cast<size_t>(Limits::kMaxSearches)) {
    return InvalidField("requests",
                        absl::StrCat("holds ", requests.size(), " searches; it must hold 1 to ",
                                     Limits::kMaxSearches));
  }
  if (absl::Status status = CheckCall(context, "embedding"); !status.ok()) return status;
  std::vector<absl::Status> checks;
  std::vector<const TextQuery*> texts;
  for (const SearchRequest& request : requests) {
    if (checks.emplace_back(CheckSearch(request)).ok()) AppendTexts(request, &texts);
  }
  if (texts.size() > kMaxBatchTexts) {
    return InvalidField("requests", absl::StrCat("holds ", texts.size(), " texts, may hold ",
                                                 kMaxBatchTexts, " at most; split the call"));
  }
  // All that may refuse a search comes before its texts are embedded, which costs most.
  CallContext patience = context;  // for the write tokens of all of them together
  patience.deadline = std::min(context.deadline, absl::Now() + kMaxTokenWait);
  std::vector<std::shared_ptr<const fields::Filter>> filters(requests.size());
  std::vector<size_t> ends;  // of each search's texts
  absl::Status model;        // asked for once
  texts.clear();
  for (size_t i = 0; i < requests.size(); ++i) {
    if (absl::Status late = CheckCall(context, "the next search"); !late.ok()) return late;
    const SearchRequest& request = requests[i];
    const size_t begin = texts.size();
    absl::Status& status = checks[i];
    if (status.ok()) status = FindSearchReranker(request).status();
    if (status.ok()) status = WaitForTokens(request.tokens, patience);
    if (status.ok()) {
      auto filter = ReadFilter(request.filter);
      status = filter.status();
      if (filter.ok()) filters[i] = *std::move(filter);
    }
    if (status.ok()) AppendTexts(request, &texts);
    if (begin == 0 && !texts.empty()) model = CheckModel();
    if (texts.size() > begin && !model.ok()) {
      status = model;
      texts.resize(begin);
    }
    ends.push_back(texts.size());
  }
  const absl::Time start = absl::Now();
  auto embedded = EmbedQueries(texts, context);
  if (!embedded.ok()) return embedded.status();
  const absl::Duration embed_time = absl::Now() - start;
  SearchBatchResult results;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (absl::Status status = CheckCall(context, "the next search"); !status.ok()) return status;
    if (!checks[i].ok()) {
      results.emplace_back(checks[i]);
      continue;
    }
    const size_t begin = i == 0 ? 0 : ends[i - 1], count = ends[i] - begin;
    const auto& result = results.emplace_back(SearchEmbedded(
        requests[i], std::move(filters[i]), std::span(*embedded).subspan(begin, count),
        count > 0 ? embed_time : absl::ZeroDuration(), std::min(max_bytes, requests[i].max_bytes),
        context));
    if (!result.ok()) continue;
    for (const SearchHit& hit : result->hits) {
      max_bytes -= std::min(max_bytes, ReplyBytes(hit.document));
    }
  }
  return results;
}

absl::StatusOr<SearchResult> Collection::SearchEmbedded(
    const SearchRequest& request, std::shared_ptr<const fields::Filter> filter,
    std::span<encoder::EmbedResult> embedded, absl::Duration embed_time, size_t max_bytes,
    const CallContext& context) const {
  SearchResult result;
  result.metric = info_.spec.metric;
  if (absl::Status status = CheckPosition(request); !status.ok()) return status;
  absl::StatusOr<Query> query = MakeQuery(request, std::move(filter), embedded);
  if (!query.ok()) return query.status();
  // Of what is reranked a part is in the reply.
  const bool reranks = request.reranking.has_value();
  query->max_bytes = reranks ? std::max(max_bytes, kMaxRerankBytes) : max_bytes;
  result.embed_time = embed_time;
  result.by_words = query->by_words;
  result.query_token_count = query->token_count;
  result.query_truncated = query->truncated;

  // A version that is gone when it is fetched was deleted or replaced after the scan passed it.
  // What replaced it may rank as well, so scan again once the index has it. Where writers keep
  // winning that race, make them wait.
  Fetched fetched;
  int k = query->Candidates(query->wanted);
  std::optional<SearchTrace::Details> details;
  if (request.explain.has_value()) query->sample = &details.emplace().task;
  SearchTrace trace(details.has_value() ? &*details : nullptr);
  query->trace = &trace;
  std::unique_ptr<RecallTask> sample;
  if (!details.has_value() && query->IsMeasurable() && context_.sampler != nullptr &&
      context_.sampler->Take()) {
    sample = std::make_unique<RecallTask>();
    query->sample = sample.get();
  }
  for (int scan = 1;; ++scan) {
    const bool fill = scan == kMaxScans;
    fetched = {};
    const absl::Time scan_start = absl::Now();
    const auto candidates = Choose(*query, k, fill, context, &fetched);
    if (!candidates.ok()) return candidates.status();
    result.search_time += absl::Now() - scan_start;
    if (sample != nullptr) {
      query->sample = nullptr;
      context_.sampler->Offer(std::move(sample));
    }

    absl::Status status = CheckCall(context, "fetching");
    if (!status.ok()) return status;
    if (fetched.gone == 0 || fill) {
      const absl::Time fetch_start = absl::Now();
      status = Fetch(*query, *candidates, fill, &fetched);
      if (reranks && IsOverBudget(status)) return TooMuchToRerank(request);
      if (!status.ok()) return status;
      result.fetch_time += absl::Now() - fetch_start;
    }
    if (fetched.gone == 0 || fill) break;

    context_.metrics->search_reruns.Add();
    for (const int shard : fetched.stale_shards) {
      if (status = shards_[shard]->WaitForAppends(context); !status.ok()) return status;
    }
    if (scan + 1 == kMaxScans) k += kSlack + fetched.gone;
  }
  if (fetched.gone > 0) {
    const absl::Time quiet_start = absl::Now();
    Fetched quiet;
    absl::Status status = SearchQuietly(*query, 0, context, &quiet);
    // Not found: the collection was deleted meanwhile.
    if (reranks && IsOverBudget(status)) return TooMuchToRerank(request);
    if (absl::IsNotFound(status) || IsOverBudget(status)) return status;
    if (status.ok()) fetched = std::move(quiet);
    // Otherwise the shard takes no writes, and what could be fetched is all there is.
    if (absl::Status late = CheckCall(context, "replying"); !late.ok()) return late;
    result.search_time += absl::Now() - quiet_start;
  }

  result.effort = trace.Effort();
  result.effort.shortfall = ShortfallOf(
      *query, fetched, query->group_by != nullptr ? fetched.groups.size() : fetched.hits.size(),
      result.effort.exact);
  if (details.has_value()) {
    auto explanation = MakeExplanation(request, *query, result, &*details, context);
    if (!explanation.ok()) return explanation.status();
    result.explanation = *std::move(explanation);
  }
  result.hits = std::move(fetched.hits);
  if (info_.spec.chunking.has_value()) SetPassages(*query, fetched.passages, &result.hits);
  result.groups = std::move(fetched.groups);
  if (query->group_by == nullptr && query->diversify == nullptr && !reranks &&
      result.hits.size() == static_cast<size_t>(query->wanted) &&
      (fetched.left_over || !fetched.complete)) {
    const SearchHit& last = result.hits.back();
    const int before = query->after.has_value() ? query->after->depth : 0;
    result.next = SearchPosition{last.score, ShardOf(last.document.id, shard_count()),
                                 last.document.sequence, before + query->wanted};
  }
  if (info_.spec.metric == Metric::kCosine) {
    // Rounding may take the product of two vectors of length 1 a little beyond.
    for (SearchHit& hit : result.hits) {
      float* const score = !query->by_words              ? &hit.score
                           : hit.dense_score.has_value() ? &*hit.dense_score
                                                         : nullptr;
      if (score != nullptr) *score = std::clamp(*score, -1.0f, 1.0f);
    }
  }
  if (reranks) {
    if (absl::Status status = CheckCall(context, "reranking"); !status.ok()) return status;
    absl::Status status = RerankHits(request, max_bytes, context, &result);
    if (!status.ok()) return status;
    if (result.explanation.has_value()) {
      std::vector<SearchExplanation::Stage>& stages = result.explanation->stages;
      const bool verified = stages.back().name == "verify";  // which is told last
      stages.insert(stages.end() - (verified ? 1 : 0),
                    SearchExplanation::Stage{"rerank", result.rerank_time});
    }
  }
  EngineMetrics& metrics = *context_.metrics;
  metrics.searches.Add();
  if (!embedded.empty()) metrics.search_embed.Observe(absl::ToDoubleSeconds(result.embed_time));
  metrics.search_scan.Observe(absl::ToDoubleSeconds(result.search_time));
  metrics.search_fetch.Observe(absl::ToDoubleSeconds(result.fetch_time));
  return result;
}

}  // namespace vecino::engine
