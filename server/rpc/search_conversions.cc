#include "server/rpc/search_conversions.h"

#include <string>
#include <utility>
#include <variant>

#include "server/rpc/conversions.h"
#include "server/rpc/effort_conversions.h"
#include "server/rpc/rerank_conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/search_page_token.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using engine::InvalidField;
using engine::Limits;

absl::Status ReadTerm(const std::string& path, const v1::QueryTerm& term, engine::Truncate truncate,
                      engine::ExpressionQuery::Term* out) {
  if (term.has_weight()) out->weight = term.weight();
  switch (term.term_case()) {
    case v1::QueryTerm::kText:
      out->term = engine::TextQuery{term.text(), truncate};
      return absl::OkStatus();
    case v1::QueryTerm::kVector: {
      auto vector = ReadVector(path + ".vector", term.vector());
      if (!vector.ok()) return vector.status();
      out->term = engine::VectorQuery{*std::move(vector)};
      return absl::OkStatus();
    }
    case v1::QueryTerm::kDocumentId:
      if (absl::Status status = CheckDocumentId(path + ".document_id", term.document_id());
          !status.ok()) {
        return status;
      }
      out->term = engine::DocumentQuery{term.document_id()};
      return absl::OkStatus();
    case v1::QueryTerm::TERM_NOT_SET:
      break;
  }
  return InvalidField(path, "has no term; set text, vector or document_id");
}

absl::Status ReadExpression(const v1::QueryExpression& expression, engine::Truncate truncate,
                            engine::SearchRequest* out) {
  if (expression.terms_size() < 1 || expression.terms_size() > Limits::kMaxTerms) {
    return InvalidField(
        "expression.terms",
        Concat("holds ", expression.terms_size(), " terms; it must hold 1 to ", Limits::kMaxTerms));
  }
  engine::ExpressionQuery query;
  query.include_term_documents = expression.include_term_documents();
  query.terms.resize(static_cast<size_t>(expression.terms_size()));
  for (int i = 0; i < expression.terms_size(); ++i) {
    absl::Status status = ReadTerm(Concat("expression.terms[", i, "]"), expression.terms(i),
                                   truncate, &query.terms[static_cast<size_t>(i)]);
    if (!status.ok()) return status;
  }
  out->query = std::move(query);
  return absl::OkStatus();
}

absl::Status ReadQuery(const v1::SearchDocumentsRequest& request, engine::SearchRequest* out) {
  const auto truncate = ReadTruncate(request.truncate());
  if (!truncate.ok()) return truncate.status();
  switch (request.query_case()) {
    case v1::SearchDocumentsRequest::kText:
      if (request.text().empty()) return InvalidField("text", "is empty");
      if (absl::Status status = CheckText("text", request.text()); !status.ok()) return status;
      out->query = engine::TextQuery{request.text(), *truncate};
      return absl::OkStatus();
    case v1::SearchDocumentsRequest::kVector: {
      auto vector = ReadVector("vector", request.vector());
      if (!vector.ok()) return vector.status();
      out->query = engine::VectorQuery{*std::move(vector)};
      return absl::OkStatus();
    }
    case v1::SearchDocumentsRequest::kDocumentId:
      if (absl::Status status = CheckDocumentId("document_id", request.document_id());
          !status.ok()) {
        return status;
      }
      out->query = engine::DocumentQuery{request.document_id()};
      return absl::OkStatus();
    case v1::SearchDocumentsRequest::kExpression:
      return ReadExpression(request.expression(), *truncate, out);
    case v1::SearchDocumentsRequest::kLexical:
      out->query = engine::LexicalQuery{request.lexical().text()};
      return absl::OkStatus();
    case v1::SearchDocumentsRequest::QUERY_NOT_SET:
      break;
  }
  return InvalidField("query", "is missing; set text, vector, document_id, expression or lexical");
}

absl::Status ReadEffort(const v1::SearchDocumentsRequest& request, engine::SearchRequest* out) {
  switch (request.effort_case()) {
    case v1::SearchDocumentsRequest::kRecallTarget:
      // The engine takes 0 for "not said".
      if (request.recall_target() == 0) {
        return InvalidField("recall_target", "is 0; it must be above 0, at most 1");
      }
      out->recall_target = request.recall_target();
      return absl::OkStatus();
    case v1::SearchDocumentsRequest::kParameters:
      out->exact = request.parameters().exact();
      out->nprobe = request.parameters().nprobe();
      out->ef_search = request.parameters().ef_search();
      out->rerank = request.parameters().rerank();
      return absl::OkStatus();
    case v1::SearchDocumentsRequest::EFFORT_NOT_SET:
      break;
  }
  return absl::OkStatus();
}

absl::Status ReadShape(std::string_view collection, const v1::SearchDocumentsRequest& request,
                       engine::SearchRequest* out) {
  if (request.has_explain()) out->explain = {.verify = request.explain().verify()};
  if (request.has_min_score()) out->min_score = request.min_score();
  if (request.has_group_by()) {
    engine::GroupBy& group_by = out->group_by.emplace();
    group_by.field = request.group_by().field();
    if (request.group_by().has_group_size()) group_by.group_size = request.group_by().group_size();
  }
  if (request.has_diversify()) {
    if (absl::Status status = ReadDiversify(request.diversify(), out); !status.ok()) return status;
  }
  if (request.has_rerank()) {
    if (absl::Status status = ReadRerank(request.rerank(), out); !status.ok()) return status;
  }
  if (!request.page_token().empty()) {
    auto position = ReadSearchPageToken(collection, request);
    if (!position.ok()) return position.status();
    out->after = *position;
  }
  return absl::OkStatus();
}

void WriteGroup(const engine::GroupValue& value, v1::SearchHit* out) {
  if (const auto* truth = std::get_if<bool>(&value)) {
    out->mutable_group()->set_bool_value(*truth);
  } else if (const auto* number = std::get_if<double>(&value)) {
    out->mutable_group()->set_number_value(*number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    out->mutable_group()->set_string_value(*text);
  }
}

}  // namespace

absl::Status ReadSearch(std::string_view collection, const v1::SearchDocumentsRequest& request,
                        engine::SearchRequest* out) {
  if (absl::Status status = ReadQuery(request, out); !status.ok()) return status;
  if (request.has_top_k()) out->top_k = request.top_k();
  if (out->top_k < 1 || out->top_k > Limits::kMaxTopK) {
    return InvalidField("top_k", Concat("is ", out->top_k, "; it must be 1 to ", Limits::kMaxTopK));
  }
  if (absl::Status status = ReadEffort(request, out); !status.ok()) return status;
  auto parts = ReadMask(request.read_mask());
  if (!parts.ok()) return parts.status();
  out->parts = *parts;
  auto tokens = ReadTokens(request.write_tokens());
  if (!tokens.ok()) return tokens.status();
  out->tokens = *std::move(tokens);
  out->filter = request.filter();
  return ReadShape(collection, request, out);
}

absl::Status ReadDiversify(const v1::Diversify& diversify, engine::SearchRequest* out) {
  engine::Diversify& to = out->diversify.emplace();
  if (diversify.has_lambda()) to.lambda = diversify.lambda();
  if (diversify.has_candidates()) {
    to.candidates = diversify.candidates();
    // The engine takes 0 for "not said".
    if (to.candidates == 0) {
      return InvalidField("diversify.candidates",
                          Concat("is 0; it must be top_k to ", Limits::kMaxTopK));
    }
  }
  return absl::OkStatus();
}

void WriteHitPassage(const engine::HitPassage& passage, v1::Passage* out) {
  WritePassage(passage.index, passage.range, out);
  out->set_text(passage.text);
}

absl::Status WriteSearch(std::string_view collection, const v1::SearchDocumentsRequest& request,
                         const engine::SearchResult& result, ReplyBudget* budget,
                         v1::SearchDocumentsResponse* out) {
  for (const engine::SearchHit& hit : result.hits) {
    auto* to = out->add_hits();
    to->set_score(hit.score);
    if (hit.rerank_score.has_value()) to->set_rerank_score(*hit.rerank_score);
    if (hit.passage.has_value()) WriteHitPassage(*hit.passage, to->mutable_passage());
    if (hit.group >= 0) WriteGroup(result.groups.at(static_cast<size_t>(hit.group)), to);
    if (absl::Status status = WriteDocument(collection, hit.document, to->mutable_document());
        !status.ok()) {
      return status;
    }
    if (absl::Status status = budget->Add(*to); !status.ok()) return status;
  }
  if (!result.by_words) out->set_metric(WriteMetric(result.metric));
  out->set_higher_is_better(result.by_words || engine::HigherIsBetter(result.metric));
  out->set_query_token_count(result.query_token_count);
  out->set_query_truncated(result.query_truncated);
  WriteDuration(result.embed_time, out->mutable_timings()->mutable_embed());
  WriteDuration(result.search_time, out->mutable_timings()->mutable_search());
  WriteDuration(result.fetch_time, out->mutable_timings()->mutable_fetch());
  WriteEffort(result.effort, out->mutable_effort());
  if (result.explanation.has_value()) {
    WriteExplanation(*result.explanation, out->mutable_explanation());
  }
  if (result.reranked.has_value()) {
    WriteDuration(result.rerank_time, out->mutable_timings()->mutable_rerank());
    WriteReranked(*result.reranked, out->mutable_reranked());
  }
  if (result.next.has_value()) {
    out->set_next_page_token(MakeSearchPageToken(collection, request, *result.next));
  }
  return absl::OkStatus();
}

}  // namespace vecino::rpc
