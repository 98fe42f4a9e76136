// The last stage of a search: a reranker reads query and hits together.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/collection_query.h"
#include "server/engine/read_budget.h"
#include "server/engine/rerank_texts.h"
#include "server/engine/search_checks.h"

namespace vecino::engine {
namespace {

// What of a hit is read beside the query.
std::string_view RerankedText(const SearchHit& hit) {
  return hit.passage.has_value() ? std::string_view(hit.passage->text)
                                 : std::string_view(hit.document.text);
}

}  // namespace

absl::StatusOr<std::string> Collection::FindSearchReranker(const SearchRequest& request) const {
  if (!request.reranking.has_value()) return std::string();
  auto info = FindReranker(*context_.encoder, request.reranking->model, "rerank.model");
  if (!info.ok()) return info.status();
  return std::move(info->name);
}

// Scores the hits, which hold their texts, and brings them into the order of the reply.
absl::Status Collection::RerankHits(const SearchRequest& request, size_t max_bytes,
                                    const CallContext& context, SearchResult* result) const {
  auto model = FindSearchReranker(request);
  if (!model.ok()) return model.status();
  Reranked& reranked = result->reranked.emplace();
  reranked.model = *std::move(model);
  std::vector<SearchHit>& hits = result->hits;
  std::vector<std::string_view> texts;
  std::vector<size_t> places;
  const auto candidates = static_cast<size_t>(RerankCandidates(request));
  for (size_t i = 0; i < std::min(hits.size(), candidates); ++i) {
    if (RerankedText(hits[i]).empty()) continue;
    texts.push_back(RerankedText(hits[i]));
    places.push_back(i);
  }
  const absl::Time start = absl::Now();
  encoder::RerankOptions options;
  options.deadline = context.deadline;
  options.enough = start + request.reranking->budget;
  options.stop = context.stop;
  const auto scored =
      context_.encoder->Rerank(reranked.model, RerankQuery(request), texts, options);
  if (!scored.ok()) return scored.status();
  for (size_t j = 0; j < places.size(); ++j) {
    const encoder::RerankResult& one = (*scored)[j];
    if (absl::IsDeadlineExceeded(one.status)) continue;
    if (!one.status.ok()) return one.status;
    hits[places[j]].rerank_score = one.score;
    ++reranked.pairs;
    reranked.truncated += one.truncated;
  }
  reranked.complete = static_cast<size_t>(reranked.pairs) == places.size();
  result->rerank_time = absl::Now() - start;
  context_.metrics->search_rerank.Observe(absl::ToDoubleSeconds(result->rerank_time));

  // Those without a score stay as they are, behind.
  std::stable_sort(hits.begin(), hits.end(), [](const SearchHit& a, const SearchHit& b) {
    if (a.rerank_score.has_value() != b.rerank_score.has_value()) return a.rerank_score.has_value();
    return a.rerank_score.has_value() && *a.rerank_score > *b.rerank_score;
  });
  if (hits.size() > static_cast<size_t>(request.top_k)) {
    hits.resize(static_cast<size_t>(request.top_k));
  }
  ReadBudget budget(max_bytes);
  for (SearchHit& hit : hits) {
    if (!request.parts.text) {
      hit.document.text.clear();
      if (hit.passage.has_value()) hit.passage->text.clear();
    }
    if (absl::Status status = budget.Add(ReplyBytes(hit.document)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
