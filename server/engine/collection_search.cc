// How a search is answered.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/collection.h"
#include "server/engine/read_budget.h"
#include "server/engine/shard_filter.h"
#include "server/engine/validation.h"
#include "server/fields/passing.h"

namespace vecino::engine {
namespace {

// Candidates beyond what was asked for, to take the places of hits that were deleted meanwhile; for
// the last scan only, as every candidate makes a scan wider.
constexpr int kSlack = 8;

// Scans beside writers before one that makes them wait.
constexpr int kMaxScans = 4;

}  // namespace

// What is looked for.
struct Collection::Query {
  std::vector<float> vector;                     // as it is compared
  index::SearchParams params;                    // k and filter are set by each scan
  std::shared_ptr<const fields::Filter> filter;  // null: none
  std::string exclude;                           // id of a document that is not to be returned
  int wanted = 0;                                // documents to return
  storage::DocumentParts parts;
  size_t max_bytes = 0;  // that they may take
  int token_count = 0;
  bool truncated = false;

  // Whether ids and times are all that is returned.
  bool heads_only() const { return !parts.text && !parts.metadata && !parts.vector; }
};

// A hit that is not fetched yet.
struct Collection::Candidate {
  int shard = 0;
  index::Hit hit;
};

struct Collection::Fetched {
  std::vector<SearchHit> hits;
  std::vector<int> stale_shards;  // where a hit's version was gone from the store
  int gone = 0;
};

absl::StatusOr<Collection::Query> Collection::MakeQuery(const SearchRequest& request,
                                                        const CallContext& context) const {
  Query query;
  query.wanted = request.top_k;
  query.parts = request.parts;
  query.max_bytes = request.max_bytes;
  auto filter = ReadFilter(request.filter);
  if (!filter.ok()) return filter.status();
  query.filter = *std::move(filter);
  const IndexSpec& index = info_.spec.index;
  query.params.recall_target =
      request.recall_target != 0 ? request.recall_target : index.recall_target;
  query.params.exact = request.exact || index.kind == IndexKind::kFlat;
  query.params.nprobe = request.nprobe;
  query.params.ef = request.ef_search;
  query.params.rerank = request.rerank;
  std::string_view field = "vector";
  if (const auto* text = std::get_if<TextQuery>(&request.query)) {
    field = "text";
    if (text->text.empty()) return InvalidField(field, "is empty; say what to look for");
    if (absl::Status status = CheckText(field, text->text); !status.ok()) return status;
    if (absl::Status status = CheckModel(); !status.ok()) return status;
    encoder::EmbedOptions options;
    options.input_type = encoder::InputType::kQuery;
    options.lane = encoder::Lane::kQuery;
    options.truncate =
        text->truncate == Truncate::kError ? encoder::Truncate::kError : encoder::Truncate::kAuto;
    options.dimensions = info_.spec.dimension;
    options.deadline = context.deadline;
    options.stop = context.stop;
    const std::string_view texts[] = {text->text};
    auto embedded = context_.encoder->Embed(info_.spec.model, texts, options);
    if (!embedded.ok()) return embedded.status();
    encoder::EmbedResult& result = embedded->front();
    if (absl::IsInvalidArgument(result.status)) {
      return InvalidField(field, std::string(result.status.message()));
    }
    if (!result.status.ok()) return result.status;
    query.vector = std::move(result.vector);
    query.token_count = result.token_count;
    query.truncated = result.truncated;
  } else if (const auto* vector = std::get_if<VectorQuery>(&request.query)) {
    query.vector = vector->vector;
  } else {
    field = "document_id";
    query.exclude = std::get<DocumentQuery>(request.query).id;
    if (absl::Status status = CheckDocumentId(field, query.exclude); !status.ok()) return status;
    const storage::DocumentParts parts{.text = false, .metadata = false, .vector = true};
    auto documents = Get({&query.exclude, 1}, parts, std::numeric_limits<size_t>::max());
    if (!documents.ok()) return documents.status();
    if (!documents->front().has_value()) {
      return absl::NotFoundError(
          absl::StrCat("document `", query.exclude, "` does not exist in `", info_.spec.id, "`"));
    }
    query.vector = std::move(documents->front()->vector);
    if (query.vector.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("document `", query.exclude, "` of `", info_.spec.id,
                       "` has no vector to compare others with; search by text or by vector"));
    }
  }
  absl::Status status =
      PrepareVector(field, info_.spec.metric, info_.spec.dimension, &query.vector);
  if (!status.ok()) return status;
  return query;
}

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
    if (absl::Status status = place.Take(); !status.ok()) return status;
    absl::Status status = shard.WaitApplied(token.sequence, patience, *context_.token_waits);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Collection::Candidate>> Collection::Scan(
    const Query& query, int k, const CallContext& context) const {
  std::vector<Candidate> candidates;
  index::SearchParams params = query.params;
  params.k = k;
  const auto check = [&] { return CheckCall(context, "scanning"); };
  for (const auto& shard : shards_) {
    std::optional<ShardFilter> filter;
    if (query.filter != nullptr) {
      filter.emplace(shard->fields(), *query.filter, context_.filters);
      params.filter = &*filter;
    }
    auto hits = shard->Search(query.vector.data(), params, check);
    // An approximate search may have looked where few rows pass. There are as many as were asked
    // for, if so many exist.
    if (hits.ok() && filter.has_value() && !params.exact && hits->size() < static_cast<size_t>(k) &&
        fields::Passing(shard->fields().Pin(), *query.filter).CountLive() >
            static_cast<int64_t>(hits->size())) {
      index::SearchParams exact = params;
      exact.exact = true;
      hits = shard->Search(query.vector.data(), exact, check);
    }
    if (!hits.ok()) return hits.status();
    for (const index::Hit& hit : *hits) candidates.push_back({shard->number(), hit});
  }
  const index::Metric metric =
      info_.spec.metric == Metric::kL2 ? index::Metric::kL2 : index::Metric::kInnerProduct;
  // Stable, so that equal scores and equal sequence numbers of two shards come by shard.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](const Candidate& a, const Candidate& b) {
                     return index::RanksBefore(metric, a.hit, b.hit);
                   });
  if (candidates.size() > static_cast<size_t>(k)) candidates.resize(k);
  return candidates;
}

// The hits of a query for ids and times, of what the cache knows of versions that the scan saw
// live. Nullopt when it does not know all, or an update was seen with its old and its new version;
// then the store is to be asked, which has one of them.
std::optional<std::vector<SearchHit>> Collection::FetchHeads(
    const Query& query, const std::vector<Candidate>& candidates) const {
  const auto wanted = static_cast<size_t>(query.wanted);
  ReadBudget budget(query.max_bytes);
  absl::flat_hash_set<std::string_view> ids;
  std::vector<SearchHit> hits;
  hits.reserve(wanted);  // `ids` points into it
  bool excluded = false;
  for (const Candidate& candidate : candidates) {
    if (hits.size() == wanted) break;
    storage::Document document;
    if (!context_.heads->Find({uid_, static_cast<uint32_t>(candidate.shard), candidate.hit.label},
                              &document)) {
      return std::nullopt;
    }
    if (!query.exclude.empty() && document.id == query.exclude) {
      if (std::exchange(excluded, true)) return std::nullopt;
      continue;
    }
    if (!budget.Add(ReplyBytes(document)).ok()) return std::nullopt;
    hits.push_back({std::move(document), candidate.hit.score});
    if (!ids.insert(hits.back().document.id).second) return std::nullopt;
  }
  return hits;
}

// Fetches candidates, best first, until there are enough. When a version is gone it stops after
// those it has asked for, or with `fill` goes on with further candidates.
absl::Status Collection::Fetch(const Query& query, const std::vector<Candidate>& candidates,
                               bool fill, Fetched* fetched) const {
  *fetched = {};
  if (query.heads_only() && !fill) {
    if (auto hits = FetchHeads(query, candidates); hits.has_value()) {
      fetched->hits = *std::move(hits);
      return absl::OkStatus();
    }
  }
  const auto wanted = static_cast<size_t>(query.wanted);
  ReadBudget budget(query.max_bytes);
  for (size_t next = 0; next < candidates.size() && fetched->hits.size() < wanted;) {
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
            return query.exclude.empty() || document.id != query.exclude ? 1 : 0;
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
      if (!query.exclude.empty() && document->id == query.exclude) continue;
      fetched->hits.push_back({*std::move(document), candidates[i].hit.score});
    }
    next = end;
    if (fetched->gone > 0 && !fill) break;
  }
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
  const auto candidates = Scan(query, query.wanted + 1, context);
  if (!candidates.ok()) return candidates.status();
  return Fetch(query, *candidates, /*fill=*/true, fetched);
}

absl::StatusOr<SearchResult> Collection::Search(const SearchRequest& request,
                                                const CallContext& context) const {
  if (absl::Status status = CheckTopK("top_k", request.top_k); !status.ok()) return status;
  if (absl::Status status = CheckEffort(request); !status.ok()) return status;
  if (absl::Status status = CheckCall(context, "embedding"); !status.ok()) return status;
  SearchResult result;
  result.metric = info_.spec.metric;

  if (absl::Status status = WaitForTokens(request.tokens, context); !status.ok()) return status;
  const absl::Time embed_start = absl::Now();
  const absl::StatusOr<Query> query = MakeQuery(request, context);
  if (!query.ok()) return query.status();
  const bool is_text = std::holds_alternative<TextQuery>(request.query);
  if (is_text) result.embed_time = absl::Now() - embed_start;
  result.query_token_count = query->token_count;
  result.query_truncated = query->truncated;

  // A version that is gone when it is fetched was deleted or replaced after the scan passed it.
  // What replaced it may rank as well, so scan again once the index has it. Where writers keep
  // winning that race, make them wait.
  Fetched fetched;
  int k = query->wanted + (query->exclude.empty() ? 0 : 1);
  for (int scan = 1;; ++scan) {
    const absl::Time scan_start = absl::Now();
    const auto candidates = Scan(*query, k, context);
    if (!candidates.ok()) return candidates.status();
    result.search_time += absl::Now() - scan_start;

    if (absl::Status status = CheckCall(context, "fetching"); !status.ok()) return status;
    const absl::Time fetch_start = absl::Now();
    absl::Status status = Fetch(*query, *candidates, /*fill=*/scan == kMaxScans, &fetched);
    if (!status.ok()) return status;
    result.fetch_time += absl::Now() - fetch_start;
    if (fetched.gone == 0 || scan == kMaxScans) break;

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
    if (absl::IsNotFound(status) || IsOverBudget(status)) return status;
    if (status.ok()) fetched = std::move(quiet);
    // Otherwise the shard takes no writes, and what could be fetched is all there is.
    if (absl::Status late = CheckCall(context, "replying"); !late.ok()) return late;
    result.search_time += absl::Now() - quiet_start;
  }

  result.hits = std::move(fetched.hits);
  if (info_.spec.metric == Metric::kCosine) {
    // Rounding may take the product of two vectors of length 1 a little beyond.
    for (SearchHit& hit : result.hits) hit.score = std::clamp(hit.score, -1.0f, 1.0f);
  }
  EngineMetrics& metrics = *context_.metrics;
  metrics.searches.Add();
  if (is_text) metrics.search_embed.Observe(absl::ToDoubleSeconds(result.embed_time));
  metrics.search_scan.Observe(absl::ToDoubleSeconds(result.search_time));
  metrics.search_fetch.Observe(absl::ToDoubleSeconds(result.fetch_time));
  return result;
}

}  // namespace vecino::engine
