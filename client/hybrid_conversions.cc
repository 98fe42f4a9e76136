#include "client/hybrid_conversions.h"

#include <string>

#include "client/conversions.h"
#include "client/recall_conversions.h"
#include "client/rerank_conversions.h"
#include "client/search_conversions.h"

namespace vecino::internal {
namespace {

Status Refuse(const std::string& option) {
  return Status(Code::kInvalidArgument, option + " is not an option of a hybrid search", option);
}

Status CheckOptions(const SearchOptions& options) {
  if (options.recall_target != 0) return Refuse("recall_target");
  if (options.exact) return Refuse("exact");
  if (options.nprobe != 0) return Refuse("nprobe");
  if (options.ef_search != 0) return Refuse("ef_search");
  if (options.rerank != 0) return Refuse("rerank");
  if (options.min_score.has_value()) return Refuse("min_score");
  if (options.group_by.has_value()) return Refuse("group_by");
  if (!options.page_token.empty()) return Refuse("page_token");
  return Status();
}

}  // namespace

Status ToProto(const HybridQuery& query, const SearchOptions& options,
               v1::HybridSearchDocumentsRequest* request) {
  if (Status status = CheckOptions(options); !status.ok()) return status;
  if (Status status = CheckUtf8(query.text, "text"); !status.ok()) return status;
  if (Status status = CheckUtf8(query.words, "lexical_text"); !status.ok()) return status;
  request->set_text(query.text);
  if (!query.vector.empty()) ToProto(query.vector, request->mutable_vector());
  request->set_lexical_text(query.words);
  request->set_top_k(options.top_k);
  *request->mutable_read_mask() = ToProto(options.read_mask);
  if (Status status = CheckUtf8(options.filter, "filter"); !status.ok()) return status;
  request->set_filter(options.filter);
  v1::Fusion* fusion = request->mutable_fusion();
  fusion->set_method(query.fusion == FusionMethod::kRrf ? v1::Fusion::METHOD_RRF
                                                        : v1::Fusion::METHOD_WEIGHTED_SCORES);
  if (query.dense_weight.has_value()) fusion->set_dense_weight(*query.dense_weight);
  if (query.lexical_weight.has_value()) fusion->set_lexical_weight(*query.lexical_weight);
  if (query.rank_constant != 0) fusion->set_rank_constant(query.rank_constant);
  if (query.candidates != 0) fusion->set_candidates(query.candidates);
  for (const WriteToken& token : options.write_tokens) {
    v1::WriteToken* message = request->add_write_tokens();
    message->set_shard(token.shard);
    message->set_sequence_number(token.sequence_number);
  }
  request->set_truncate(ToProto(options.truncate));
  if (options.explain || options.verify) request->mutable_explain()->set_verify(options.verify);
  if (options.diversify.has_value()) {
    ToProto(*options.diversify, request->mutable_diversify());
  }
  if (!options.reranking.has_value()) return Status();
  return ToProto(*options.reranking, request->mutable_rerank());
}

SearchResponse FromProto(const v1::HybridSearchDocumentsResponse& message) {
  SearchResponse response;
  response.hits.reserve(message.hits_size());
  for (const v1::HybridSearchHit& hit : message.hits()) {
    SearchHit& one = response.hits.emplace_back();
    one.document = FromProto(hit.document());
    one.score = hit.score();
    if (hit.has_dense_score()) one.dense_score = hit.dense_score();
    if (hit.has_lexical_score()) one.lexical_score = hit.lexical_score();
    if (hit.has_rerank_score()) one.rerank_score = hit.rerank_score();
    if (hit.has_passage()) one.passage = FromProto(hit.passage());
  }
  response.query_truncated = message.query_truncated();
  response.embed_time = FromProto(message.timings().embed());
  response.search_time = FromProto(message.timings().search());
  response.fetch_time = FromProto(message.timings().fetch());
  response.effort = FromProto(message.effort());
  if (message.has_explanation()) response.explanation = FromProto(message.explanation());
  response.rerank_time = FromProto(message.timings().rerank());
  if (message.has_reranked()) response.reranked = FromProto(message.reranked());
  return response;
}

}  // namespace vecino::internal
