#include "client/search_conversions.h"

#include "client/conversions.h"
#include "client/metadata_json.h"
#include "client/recall_conversions.h"
#include "client/rerank_conversions.h"

namespace vecino::internal {
namespace {

// A query and a term have these three in common.
template <class From, class To>
Status TermToProto(const From& from, const std::string& path, To* to) {
  switch (from.kind) {
    case From::Kind::kText:
      to->set_text(from.text_or_id);
      return CheckUtf8(from.text_or_id, path + "text");
    case From::Kind::kVector:
      ToProto(from.vector, to->mutable_vector());
      return Status();
    case From::Kind::kDocumentId:
      to->set_document_id(from.text_or_id);
      return CheckUtf8(from.text_or_id, path + "document_id");
    default:
      return Status();
  }
}

Status ToProto(const Query& query, v1::SearchDocumentsRequest* request) {
  if (query.kind == Query::Kind::kWords) {
    request->mutable_lexical()->set_text(query.text_or_id);
    return CheckUtf8(query.text_or_id, "lexical.text");
  }
  if (query.kind != Query::Kind::kExpression) return TermToProto(query, "", request);
  v1::QueryExpression* expression = request->mutable_expression();
  expression->set_include_term_documents(query.include_term_documents);
  for (size_t i = 0; i < query.terms.size(); ++i) {
    v1::QueryTerm* term = expression->add_terms();
    term->set_weight(query.terms[i].weight);
    const Status status =
        TermToProto(query.terms[i], "expression.terms[" + std::to_string(i) + "].", term);
    if (!status.ok()) return status;
  }
  return Status();
}

Status EffortToProto(const SearchOptions& options, v1::SearchDocumentsRequest* request) {
  const bool has_parameters =
      options.exact || options.nprobe != 0 || options.ef_search != 0 || options.rerank != 0;
  if (options.recall_target != 0 && has_parameters) {
    return Status(Code::kInvalidArgument,
                  "give a recall target or exact, nprobe, ef_search and rerank, not both",
                  "recall_target");
  }
  if (options.recall_target != 0) request->set_recall_target(options.recall_target);
  if (has_parameters) {
    v1::SearchParameters* parameters = request->mutable_parameters();
    parameters->set_exact(options.exact);
    parameters->set_nprobe(options.nprobe);
    parameters->set_ef_search(options.ef_search);
    parameters->set_rerank(options.rerank);
  }
  return Status();
}

}  // namespace

void ToProto(const Diversify& diversify, v1::Diversify* message) {
  message->set_lambda(diversify.lambda);
  if (diversify.candidates != 0) message->set_candidates(diversify.candidates);
}

Status ToProto(const Query& query, const SearchOptions& options,
               v1::SearchDocumentsRequest* request) {
  if (Status status = ToProto(query, request); !status.ok()) return status;
  request->set_top_k(options.top_k);
  *request->mutable_read_mask() = ToProto(options.read_mask);
  for (const WriteToken& token : options.write_tokens) {
    v1::WriteToken* message = request->add_write_tokens();
    message->set_shard(token.shard);
    message->set_sequence_number(token.sequence_number);
  }
  request->set_truncate(ToProto(options.truncate));
  if (options.explain || options.verify) request->mutable_explain()->set_verify(options.verify);
  if (Status status = EffortToProto(options, request); !status.ok()) return status;
  if (Status status = CheckUtf8(options.filter, "filter"); !status.ok()) return status;
  request->set_filter(options.filter);
  if (options.min_score.has_value()) request->set_min_score(*options.min_score);
  if (options.group_by.has_value()) {
    if (Status status = CheckUtf8(options.group_by->field, "group_by.field"); !status.ok()) {
      return status;
    }
    request->mutable_group_by()->set_field(options.group_by->field);
    request->mutable_group_by()->set_group_size(options.group_by->group_size);
  }
  if (options.diversify.has_value()) {
    ToProto(*options.diversify, request->mutable_diversify());
  }
  if (options.reranking.has_value()) {
    Status status = ToProto(*options.reranking, request->mutable_rerank());
    if (!status.ok()) return status;
  }
  request->set_page_token(options.page_token);
  return CheckUtf8(options.page_token, "page_token");
}

SearchResponse FromProto(const v1::SearchDocumentsResponse& message) {
  SearchResponse response;
  response.hits.reserve(message.hits_size());
  for (const v1::SearchHit& hit : message.hits()) {
    response.hits.push_back({.document = FromProto(hit.document()),
                             .score = hit.score(),
                             .group_json = hit.has_group() ? ToJson(hit.group()) : ""});
    if (hit.has_rerank_score()) response.hits.back().rerank_score = hit.rerank_score();
    if (hit.has_passage()) response.hits.back().passage = FromProto(hit.passage());
  }
  response.metric = FromProto(message.metric());
  response.higher_is_better = message.higher_is_better();
  response.query_token_count = message.query_token_count();
  response.query_truncated = message.query_truncated();
  response.embed_time = FromProto(message.timings().embed());
  response.search_time = FromProto(message.timings().search());
  response.fetch_time = FromProto(message.timings().fetch());
  response.rerank_time = FromProto(message.timings().rerank());
  if (message.has_reranked()) response.reranked = FromProto(message.reranked());
  response.next_page_token = message.next_page_token();
  response.effort = FromProto(message.effort());
  if (message.has_explanation()) response.explanation = FromProto(message.explanation());
  return response;
}

}  // namespace vecino::internal
