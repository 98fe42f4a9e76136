#include "server/rpc/hybrid_conversions.h"

#include <string>
#include <utility>

#include "server/rpc/conversions.h"
#include "server/rpc/effort_conversions.h"
#include "server/rpc/rerank_conversions.h"
#include "server/rpc/search_conversions.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using engine::InvalidField;
using engine::Limits;

absl::Status ReadFusion(const v1::Fusion& fusion, engine::Fusion* out) {
  switch (fusion.method()) {
    case v1::Fusion::METHOD_UNSPECIFIED:
    case v1::Fusion::METHOD_RRF:
      out->method = engine::Fusion::Method::kRrf;
      break;
    case v1::Fusion::METHOD_WEIGHTED_SCORES:
      out->method = engine::Fusion::Method::kWeightedScores;
      break;
    default:
      return InvalidField("fusion.method",
                          Concat("is ", static_cast<int>(fusion.method()), ", which is no method"));
  }
  if (fusion.has_dense_weight()) out->dense_weight = fusion.dense_weight();
  if (fusion.has_lexical_weight()) out->lexical_weight = fusion.lexical_weight();
  if (fusion.has_rank_constant()) out->rank_constant = fusion.rank_constant();
  if (fusion.has_candidates()) {
    out->candidates = fusion.candidates();
    // The engine takes 0 for "not said".
    if (out->candidates == 0) {
      return InvalidField("fusion.candidates",
                          Concat("is 0; it must be top_k to ", Limits::kMaxTopK));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadQuery(const v1::HybridSearchDocumentsRequest& request,
                       engine::HybridQuery* query) {
  const bool has_words = !request.lexical_text().empty();
  if (request.text().empty() && !(request.has_vector() && has_words)) {
    return InvalidField("text",
                        "is empty; it is needed unless both vector and lexical_text are given");
  }
  if (!request.text().empty() && request.has_vector() && has_words) {
    return InvalidField("text", "says nothing beside both vector and lexical_text; leave one out");
  }
  if (absl::Status status = CheckText("text", request.text()); !status.ok()) return status;
  if (request.has_vector()) {
    auto vector = ReadVector("vector", request.vector());
    if (!vector.ok()) return vector.status();
    query->dense = engine::VectorQuery{*std::move(vector)};
  } else {
    const auto truncate = ReadTruncate(request.truncate());
    if (!truncate.ok()) return truncate.status();
    query->dense = engine::TextQuery{request.text(), *truncate};
  }
  query->words = has_words ? request.lexical_text() : request.text();
  return ReadFusion(request.fusion(), &query->fusion);
}

}  // namespace

absl::Status ReadHybrid(const v1::HybridSearchDocumentsRequest& request,
                        engine::SearchRequest* out) {
  engine::HybridQuery query;
  if (absl::Status status = ReadQuery(request, &query); !status.ok()) return status;
  out->query = std::move(query);
  if (request.has_top_k()) out->top_k = request.top_k();
  if (out->top_k < 1 || out->top_k > Limits::kMaxTopK) {
    return InvalidField("top_k", Concat("is ", out->top_k, "; it must be 1 to ", Limits::kMaxTopK));
  }
  auto parts = ReadMask(request.read_mask());
  if (!parts.ok()) return parts.status();
  out->parts = *parts;
  auto tokens = ReadTokens(request.write_tokens());
  if (!tokens.ok()) return tokens.status();
  out->tokens = *std::move(tokens);
  out->filter = request.filter();
  if (request.has_explain()) out->explain = {.verify = request.explain().verify()};
  if (request.has_diversify()) {
    if (absl::Status status = ReadDiversify(request.diversify(), out); !status.ok()) return status;
  }
  return request.has_rerank() ? ReadRerank(request.rerank(), out) : absl::OkStatus();
}

absl::Status WriteHybrid(std::string_view collection, const engine::SearchResult& result,
                         ReplyBudget* budget, v1::HybridSearchDocumentsResponse* out) {
  for (const engine::SearchHit& hit : result.hits) {
    auto* to = out->add_hits();
    to->set_score(hit.score);
    if (hit.dense_score.has_value()) to->set_dense_score(*hit.dense_score);
    if (hit.lexical_score.has_value()) to->set_lexical_score(*hit.lexical_score);
    if (hit.rerank_score.has_value()) to->set_rerank_score(*hit.rerank_score);
    if (hit.passage.has_value()) WriteHitPassage(*hit.passage, to->mutable_passage());
    if (absl::Status status = WriteDocument(collection, hit.document, to->mutable_document());
        !status.ok()) {
      return status;
    }
    if (absl::Status status = budget->Add(*to); !status.ok()) return status;
  }
  WriteDuration(result.embed_time, out->mutable_timings()->mutable_embed());
  WriteDuration(result.search_time, out->mutable_timings()->mutable_search());
  WriteDuration(result.fetch_time, out->mutable_timings()->mutable_fetch());
  if (result.reranked.has_value()) {
    WriteDuration(result.rerank_time, out->mutable_timings()->mutable_rerank());
    WriteReranked(*result.reranked, out->mutable_reranked());
  }
  out->set_query_truncated(result.query_truncated);
  WriteEffort(result.effort, out->mutable_effort());
  if (result.explanation.has_value()) {
    WriteExplanation(*result.explanation, out->mutable_explanation());
  }
  return absl::OkStatus();
}

}  // namespace vecino::rpc
