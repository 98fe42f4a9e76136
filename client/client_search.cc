// Client's searches.
#include <string>
#include <utility>
#include <vector>

#include "client/conversions.h"
#include "client/error_details.h"
#include "client/hybrid_conversions.h"
#include "client/impl.h"
#include "client/search_conversions.h"
#include "client/vecino/client.h"

namespace vecino {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::FromProto;
using internal::FromRpc;
using internal::ToProto;

QueryTerm QueryTerm::Text(std::string text, float weight) {
  return {.kind = Kind::kText, .text_or_id = std::move(text), .vector = {}, .weight = weight};
}

QueryTerm QueryTerm::Vector(std::vector<float> vector, float weight) {
  return {.kind = Kind::kVector, .text_or_id = {}, .vector = std::move(vector), .weight = weight};
}

QueryTerm QueryTerm::DocumentId(std::string id, float weight) {
  return {.kind = Kind::kDocumentId, .text_or_id = std::move(id), .vector = {}, .weight = weight};
}

Query Query::Text(std::string text) {
  Query query;
  query.text_or_id = std::move(text);
  return query;
}

Query Query::Vector(std::vector<float> vector) {
  Query query;
  query.kind = Kind::kVector;
  query.vector = std::move(vector);
  return query;
}

Query Query::DocumentId(std::string id) {
  Query query;
  query.kind = Kind::kDocumentId;
  query.text_or_id = std::move(id);
  return query;
}

Query Query::Expression(std::vector<QueryTerm> terms, bool include_term_documents) {
  Query query;
  query.kind = Kind::kExpression;
  query.terms = std::move(terms);
  query.include_term_documents = include_term_documents;
  return query;
}

Query Query::Words(std::string text) {
  Query query;
  query.kind = Kind::kWords;
  query.text_or_id = std::move(text);
  return query;
}

Result<SearchResponse> Client::Search(const std::string& collection, const Query& query,
                                      const SearchOptions& options) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  v1::SearchDocumentsRequest request;
  if (Status status = ToProto(query, options, &request); !status.ok()) return status;
  request.set_parent(CollectionName(collection));
  v1::SearchDocumentsResponse response;
  const Status status =
      impl_->Call(*impl_->search, &v1::SearchService::Stub::SearchDocuments, request, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

Result<SearchResponse> Client::HybridSearch(const std::string& collection, const HybridQuery& query,
                                            const SearchOptions& options) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  v1::HybridSearchDocumentsRequest request;
  if (Status status = ToProto(query, options, &request); !status.ok()) return status;
  request.set_parent(CollectionName(collection));
  v1::HybridSearchDocumentsResponse response;
  const Status status = impl_->Call(*impl_->search, &v1::SearchService::Stub::HybridSearchDocuments,
                                    request, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

Result<std::vector<Result<SearchResponse>>> Client::SearchBatch(
    const std::string& collection, const std::vector<SearchCall>& calls) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  v1::BatchSearchDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  for (size_t i = 0; i < calls.size(); ++i) {
    const Status status = ToProto(calls[i].query, calls[i].options, request.add_requests());
    if (!status.ok()) {
      const std::string place = "requests[" + std::to_string(i) + "].";
      return Status(status.code(), place + status.message(), place + status.field());
    }
  }
  v1::BatchSearchDocumentsResponse response;
  const Status status = impl_->Call(*impl_->search, &v1::SearchService::Stub::BatchSearchDocuments,
                                    request, &response);
  if (!status.ok()) return status;
  if (static_cast<size_t>(response.results_size()) != calls.size()) {
    return Status(Code::kInternal, "the server sent " + std::to_string(response.results_size()) +
                                       " results for " + std::to_string(calls.size()) +
                                       " searches");
  }
  std::vector<Result<SearchResponse>> results;
  results.reserve(calls.size());
  for (const v1::BatchSearchResult& result : response.results()) {
    if (Status failed = FromRpc(result.status()); !failed.ok()) {
      results.emplace_back(std::move(failed));
    } else {
      results.emplace_back(FromProto(result.response()));
    }
  }
  return results;
}

}  // namespace vecino
