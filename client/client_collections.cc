// Client's calls about collections.
#include <utility>

#include "client/conversions.h"
#include "client/impl.h"
#include "client/index_conversions.h"
#include "client/recall_conversions.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::FromProto;
using internal::ToProto;

// Whether `stored` is what `wanted` asks for, as far as `wanted` says.
bool Agrees(const std::optional<Chunking>& wanted, const std::optional<Chunking>& stored) {
  if (!wanted.has_value() || !stored.has_value()) return wanted.has_value() == stored.has_value();
  return (wanted->max_tokens == 0 || wanted->max_tokens == stored->max_tokens) &&
         (!wanted->overlap_tokens.has_value() || wanted->overlap_tokens == stored->overlap_tokens);
}

bool Agrees(const Collection& wanted, const Collection& stored) {
  return (wanted.dimension == 0 || wanted.dimension == stored.dimension) &&
         wanted.metric == stored.metric && wanted.model == stored.model &&
         (wanted.query_prompt.empty() || wanted.query_prompt == stored.query_prompt) &&
         (wanted.document_prompt.empty() || wanted.document_prompt == stored.document_prompt) &&
         (wanted.shard_count == 0 || wanted.shard_count == stored.shard_count) &&
         (wanted.index_kind.empty() || wanted.index_kind == stored.index_kind) &&
         (wanted.recall_target == 0 || wanted.recall_target == stored.recall_target) &&
         wanted.index_parameters == stored.index_parameters &&
         Agrees(wanted.chunking, stored.chunking);
}

}  // namespace

Result<Collection> Client::CreateCollection(const Collection& collection, bool validate_only) {
  if (Status status = CheckUtf8(collection.id, "collection_id"); !status.ok()) return status;
  if (Status status = CheckUtf8(collection.model, "collection.embedding.model"); !status.ok()) {
    return status;
  }
  Status prompts =
      internal::CheckPrompts(collection.query_prompt, collection.document_prompt, "collection.");
  if (!prompts.ok()) return prompts;
  if (!internal::IsIndexKind(collection.index_kind)) {
    return Status(Code::kInvalidArgument,
                  "index_policy.kind '" + collection.index_kind + "' is unknown; use one of " +
                      internal::IndexKinds(),
                  "collection.index_policy.kind");
  }
  v1::CreateCollectionRequest request;
  request.set_collection_id(collection.id);
  *request.mutable_collection() = ToProto(collection);
  request.set_validate_only(validate_only);
  v1::CreateCollectionResponse response;
  int attempts = 0;
  const Status status =
      impl_->Call(*impl_->collections, &v1::CollectionService::Stub::CreateCollection, request,
                  &response, &attempts);
  if (status.code() == Code::kAlreadyExists && attempts > 1 && !validate_only) {
    // An attempt whose reply was lost may have made it.
    Result<Collection> stored = GetCollection(collection.id);
    if (stored.ok() && Agrees(collection, *stored)) return stored;
  }
  if (!status.ok()) return status;
  return FromProto(response.collection());
}

Result<Collection> Client::GetCollection(const std::string& id) {
  if (Status status = CheckUtf8(id, "name"); !status.ok()) return status;
  v1::GetCollectionRequest request;
  request.set_name(CollectionName(id));
  v1::GetCollectionResponse response;
  const Status status = impl_->Call(
      *impl_->collections, &v1::CollectionService::Stub::GetCollection, request, &response);
  if (!status.ok()) return status;
  return FromProto(response.collection());
}

Result<std::vector<Collection>> Client::ListCollections() {
  std::vector<Collection> collections;
  v1::ListCollectionsRequest request;
  request.set_page_size(1'000);
  do {
    v1::ListCollectionsResponse response;
    const Status status = impl_->Call(
        *impl_->collections, &v1::CollectionService::Stub::ListCollections, request, &response);
    if (!status.ok()) return status;
    for (const v1::Collection& collection : response.collections()) {
      collections.push_back(FromProto(collection));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return collections;
}

Status Client::DeleteCollection(const std::string& id, const std::string& etag) {
  if (Status status = CheckUtf8(id, "name"); !status.ok()) return status;
  if (Status status = CheckUtf8(etag, "etag"); !status.ok()) return status;
  v1::DeleteCollectionRequest request;
  request.set_name(CollectionName(id));
  request.set_etag(etag);
  v1::DeleteCollectionResponse response;
  int attempts = 0;
  Status status = impl_->Call(*impl_->collections, &v1::CollectionService::Stub::DeleteCollection,
                              request, &response, &attempts);
  // An attempt whose reply was lost may have deleted it.
  if (status.code() == Code::kNotFound && attempts > 1) return Status();
  return status;
}

Result<CollectionStats> Client::GetCollectionStats(const std::string& id) {
  if (Status status = CheckUtf8(id, "name"); !status.ok()) return status;
  v1::GetCollectionStatsRequest request;
  request.set_name(CollectionName(id));
  v1::GetCollectionStatsResponse response;
  const Status status = impl_->Call(
      *impl_->collections, &v1::CollectionService::Stub::GetCollectionStats, request, &response);
  if (!status.ok()) return status;
  return FromProto(response.stats());
}

Result<RecallEvaluation> Client::EvaluateRecall(const std::string& id, const RecallQueries& queries,
                                                const RecallOptions& options) {
  if (Status status = CheckUtf8(id, "name"); !status.ok()) return status;
  v1::EvaluateRecallRequest request;
  request.set_name(CollectionName(id));
  if (Status status = internal::ToProto(queries, options, &request); !status.ok()) return status;
  v1::EvaluateRecallResponse response;
  const Status status = impl_->Call(
      *impl_->collections, &v1::CollectionService::Stub::EvaluateRecall, request, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

}  // namespace vecino
