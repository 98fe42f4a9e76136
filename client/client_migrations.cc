// Client's calls about migrations of embeddings.
#include <utility>

#include "client/conversions.h"
#include "client/impl.h"
#include "client/index_conversions.h"
#include "client/migration_conversions.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::FromProto;
using internal::ToProto;

}  // namespace

Result<Operation> Client::MigrateEmbeddings(const std::string& collection,
                                            const MigrationOptions& options, bool validate_only) {
  if (Status status = CheckUtf8(collection, "name"); !status.ok()) return status;
  if (Status status = CheckUtf8(options.model, "embedding.model"); !status.ok()) return status;
  Status prompts = internal::CheckPrompts(options.query_prompt, options.document_prompt, "");
  if (!prompts.ok()) return prompts;
  v1::MigrateEmbeddingsRequest request;
  request.set_name(CollectionName(collection));
  if (!options.model.empty()) request.mutable_embedding()->set_model("models/" + options.model);
  if (!options.query_prompt.empty()) {
    request.mutable_embedding()->set_query_prompt(options.query_prompt);
  }
  if (!options.document_prompt.empty()) {
    request.mutable_embedding()->set_document_prompt(options.document_prompt);
  }
  request.set_dimension(options.dimension);
  for (size_t i = 0; i < options.queries.size(); ++i) {
    const std::string field = "queries[" + std::to_string(i) + "]";
    if (Status status = CheckUtf8(options.queries[i], field); !status.ok()) return status;
    request.add_queries(options.queries[i]);
  }
  request.set_top_k(options.top_k);
  request.set_cut_over(options.automatic ? v1::MigrateEmbeddingsRequest::CUT_OVER_AUTOMATIC
                                         : v1::MigrateEmbeddingsRequest::CUT_OVER_MANUAL);
  request.set_min_overlap(options.min_overlap);
  request.set_allow_vectorless(options.allow_vectorless);
  request.set_validate_only(validate_only);
  google::longrunning::Operation response;
  int attempts = 0;
  const Status status =
      impl_->Call(*impl_->collections, &v1::CollectionService::Stub::MigrateEmbeddings, request,
                  &response, &attempts);
  if (status.code() == Code::kFailedPrecondition && attempts > 1 && !validate_only) {
    // An attempt whose reply was lost may have begun it.
    const Result<Collection> now = GetCollection(collection);
    if (now.ok() && now->migration && now->migration->new_side.model == options.model) {
      return GetOperation(collection, now->migration->operation);
    }
  }
  if (!status.ok()) return status;
  return FromProto(response);
}

// Sent twice this does no harm.
Result<Collection> Client::SwitchEmbeddings(const std::string& collection, EmbeddingSide to) {
  if (Status status = CheckUtf8(collection, "name"); !status.ok()) return status;
  v1::SwitchEmbeddingsRequest request;
  request.set_name(CollectionName(collection));
  request.set_to(ToProto(to));
  v1::SwitchEmbeddingsResponse response;
  const Status status = impl_->Call(
      *impl_->collections, &v1::CollectionService::Stub::SwitchEmbeddings, request, &response);
  if (!status.ok()) return status;
  return FromProto(response.collection());
}

Result<Collection> Client::FinishEmbeddingMigration(const std::string& collection,
                                                    std::optional<EmbeddingSide> keep) {
  if (Status status = CheckUtf8(collection, "name"); !status.ok()) return status;
  v1::FinishEmbeddingMigrationRequest request;
  request.set_name(CollectionName(collection));
  if (keep) request.set_keep(ToProto(*keep));
  v1::FinishEmbeddingMigrationResponse response;
  int attempts = 0;
  const Status status =
      impl_->Call(*impl_->collections, &v1::CollectionService::Stub::FinishEmbeddingMigration,
                  request, &response, &attempts);
  if (status.code() == Code::kFailedPrecondition && attempts > 1) {
    // An attempt whose reply was lost may have finished it.
    Result<Collection> now = GetCollection(collection);
    if (now.ok() && !now->migration) return now;
  }
  if (!status.ok()) return status;
  return FromProto(response.collection());
}

}  // namespace vecino
