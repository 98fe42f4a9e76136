// What a search looks for, once its texts are embedded.
#include "server/engine/collection_query.h"

#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/chunking.h"
#include "server/engine/query_expression.h"
#include "server/engine/search_checks.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

absl::Status TextStatus(std::string_view field, const encoder::EmbedResult& result) {
  return absl::IsInvalidArgument(result.status)
             ? InvalidField(field, std::string(result.status.message()))
             : result.status;
}

absl::Status NoVectorError(const std::string& document, const std::string& collection) {
  return absl::FailedPreconditionError(
      absl::StrCat("document `", document, "` of `", collection,
                   "` has no vector to compare others with; search by text or by vector"));
}

}  // namespace

absl::StatusOr<std::vector<encoder::EmbedResult>> Collection::EmbedQueries(
    std::span<const TextQuery* const> texts, const CallContext& context) const {
  std::vector<encoder::EmbedResult> results;
  if (texts.empty()) return results;
  results.resize(texts.size());
  encoder::EmbedOptions options;
  options.input_type = encoder::InputType::kQuery;
  options.prompt = info_.spec.prompts.query;
  options.lane = encoder::Lane::kQuery;
  options.dimensions = info_.spec.dimension;
  options.deadline = context.deadline;
  options.stop = context.stop;
  for (const Truncate truncate : {Truncate::kAuto, Truncate::kError}) {
    std::vector<std::string_view> batch;
    std::vector<size_t> places;
    for (size_t i = 0; i < texts.size(); ++i) {
      if (texts[i]->truncate != truncate) continue;
      batch.push_back(texts[i]->text);
      places.push_back(i);
    }
    if (batch.empty()) continue;
    options.truncate =
        truncate == Truncate::kError ? encoder::Truncate::kError : encoder::Truncate::kAuto;
    auto embedded = context_.encoder->Embed(info_.spec.model, batch, options);
    if (!embedded.ok()) return embedded.status();
    for (size_t j = 0; j < places.size(); ++j) results[places[j]] = std::move((*embedded)[j]);
  }
  return results;
}

absl::StatusOr<Collection::Query> Collection::MakeQuery(
    const SearchRequest& request, std::shared_ptr<const fields::Filter> filter,
    std::span<encoder::EmbedResult> embedded) const {
  Query query;
  query.top_k = query.wanted = request.top_k;
  if (request.group_by.has_value()) {
    query.group_by = &*request.group_by;
    query.wanted *= request.group_by->group_size;
  }
  if (request.diversify.has_value()) query.diversify = &*request.diversify;
  query.min_score = request.min_score;
  query.filter = std::move(filter);
  query.after = request.after;
  query.parts = query.asked = request.parts;
  query.parts.passages = query.parts.passages || info_.spec.chunking.has_value();
  if (request.reranking.has_value()) {
    query.wanted = std::max(request.top_k, RerankCandidates(request));
    query.parts.text = query.asked.text = true;
  }
  query.max_bytes = request.max_bytes;
  SetEffort(request, &query);
  if (info_.spec.metric == Metric::kL2) query.ranking = index::Metric::kL2;
  const auto* const hybrid = std::get_if<HybridQuery>(&request.query);
  const auto* const lexical = std::get_if<LexicalQuery>(&request.query);
  if (hybrid != nullptr || lexical != nullptr) {
    query.by_words = true;
    query.ranking = index::Metric::kInnerProduct;
    query.words = fields::LexicalTerms(lexical != nullptr ? lexical->text : hybrid->words);
    if (hybrid != nullptr) query.fusion = &hybrid->fusion;
    if (hybrid == nullptr || hybrid->fusion.dense_weight == 0) return query;
  }
  std::string_view field = "vector";
  const auto* const given = hybrid != nullptr ? std::get_if<VectorQuery>(&hybrid->dense)
                                              : std::get_if<VectorQuery>(&request.query);
  if (given == nullptr && (hybrid != nullptr || std::holds_alternative<TextQuery>(request.query))) {
    field = "text";
    encoder::EmbedResult& result = embedded.front();
    if (absl::Status status = TextStatus(field, result); !status.ok()) return status;
    query.vector = std::move(result.vector);
    query.token_count = result.token_count;
    query.truncated = result.truncated;
  } else if (given != nullptr) {
    query.vector = given->vector;
  } else if (const auto* document = std::get_if<DocumentQuery>(&request.query)) {
    field = "document_id";
    query.exclude = {document->id};
    const storage::DocumentParts parts{.text = false, .metadata = false, .vector = true};
    auto documents = Get(query.exclude, parts, std::numeric_limits<size_t>::max());
    if (!documents.ok()) return documents.status();
    if (!documents->front().has_value()) {
      return absl::NotFoundError(
          absl::StrCat("document `", document->id, "` does not exist in `", info_.spec.id, "`"));
    }
    query.vector = MeanVector(info_.spec.dimension, std::move(documents->front()->vector));
    if (query.vector.empty()) return NoVectorError(document->id, info_.spec.id);
  } else {
    field = "expression";
    const auto& expression = std::get<ExpressionQuery>(request.query);
    absl::Status status = ReadExpression(expression, embedded, &query);
    if (!status.ok()) return status;
  }
  absl::Status status =
      PrepareVector(field, info_.spec.metric, info_.spec.dimension, &query.vector);
  if (!status.ok()) return status;
  return query;
}

void Collection::SetEffort(const SearchRequest& request, Query* query) const {
  const IndexSpec index = index_spec();
  query->params.recall_target =
      request.recall_target != 0 ? request.recall_target : index.recall_target;
  query->params.exact = request.exact || index.kind == IndexKind::kFlat;
  query->params.nprobe = request.nprobe;
  query->params.ef = request.ef_search;
  query->params.rerank = request.rerank;
}

// Sets vector, exclude, token_count and truncated.
absl::Status Collection::ReadExpression(const ExpressionQuery& expression,
                                        std::span<encoder::EmbedResult> embedded,
                                        Query* query) const {
  std::vector<std::string> ids;
  for (const ExpressionQuery::Term& term : expression.terms) {
    if (const auto* document = std::get_if<DocumentQuery>(&term.term)) ids.push_back(document->id);
  }
  std::vector<std::optional<storage::Document>> documents;
  if (!ids.empty()) {
    auto found = Get(ids, {.text = false, .metadata = false, .vector = true},
                     std::numeric_limits<size_t>::max());
    if (!found.ok()) return found.status();
    documents = *std::move(found);
  }
  std::vector<float> weights;
  std::vector<std::vector<float>> vectors;
  size_t next_text = 0, next_document = 0;
  for (size_t i = 0; i < expression.terms.size(); ++i) {
    const ExpressionQuery::Term& term = expression.terms[i];
    std::vector<float> vector;
    std::string field;
    if (std::holds_alternative<TextQuery>(term.term)) {
      field = TermField(i, "text");
      encoder::EmbedResult& result = embedded[next_text++];
      if (absl::Status status = TextStatus(field, result); !status.ok()) return status;
      vector = std::move(result.vector);
      query->token_count += result.token_count;
      query->truncated = query->truncated || result.truncated;
    } else if (const auto* given = std::get_if<VectorQuery>(&term.term)) {
      field = TermField(i, "vector");
      vector = given->vector;
    } else {
      field = TermField(i, "document_id");
      std::optional<storage::Document>& document = documents[next_document++];
      if (!document.has_value()) {
        return absl::NotFoundError(absl::StrCat(field, ": document `", ids[next_document - 1],
                                                "` does not exist in `", info_.spec.id, "`"));
      }
      vector = MeanVector(info_.spec.dimension, std::move(document->vector));
      if (vector.empty()) return NoVectorError(document->id, info_.spec.id);
    }
    absl::Status status = PrepareVector(field, info_.spec.metric, info_.spec.dimension, &vector);
    if (!status.ok()) return status;
    weights.push_back(term.weight);
    vectors.push_back(std::move(vector));
  }
  auto sum = SumTerms(info_.spec.metric, info_.spec.dimension, weights, vectors);
  if (!sum.ok()) return sum.status();
  query->vector = *std::move(sum);
  if (!expression.include_term_documents) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    query->exclude = std::move(ids);
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
