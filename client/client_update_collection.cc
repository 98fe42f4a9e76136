// Client::UpdateCollection.
#include <cmath>
#include <optional>

#include "client/conversions.h"
#include "client/impl.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::FromProto;

void ToProto(const CollectionUpdate& update, v1::UpdateCollectionRequest* request) {
  v1::IndexPolicy* policy = request->mutable_collection()->mutable_index_policy();
  google::protobuf::FieldMask* mask = request->mutable_update_mask();
  if (update.recall_target.has_value()) {
    policy->set_recall_target(*update.recall_target);
    mask->add_paths("index_policy.recall_target");
  }
  if (update.nprobe.has_value()) {
    policy->mutable_parameters()->set_nprobe(*update.nprobe);
    mask->add_paths("index_policy.parameters.nprobe");
  }
  if (update.ef_search.has_value()) {
    policy->mutable_parameters()->set_ef_search(*update.ef_search);
    mask->add_paths("index_policy.parameters.ef_search");
  }
  if (update.graph.has_value()) {
    policy->mutable_parameters()->set_graph(*update.graph);
    mask->add_paths("index_policy.parameters.graph");
  }
}

// Whether `stored` is what `update` makes of a collection.
bool Agrees(const CollectionUpdate& update, const Collection& stored) {
  constexpr double kStoredTo = 1e-6;  // what is stored are millionths
  const IndexParameters& parameters = stored.index_parameters;
  return (!update.recall_target ||
          std::abs(*update.recall_target - stored.recall_target) < kStoredTo) &&
         update.nprobe.value_or(parameters.nprobe) == parameters.nprobe &&
         update.ef_search.value_or(parameters.ef_search) == parameters.ef_search &&
         update.graph.value_or(parameters.graph) == parameters.graph;
}

}  // namespace

Result<Collection> Client::UpdateCollection(const std::string& id, const CollectionUpdate& update,
                                            bool validate_only) {
  if (Status status = CheckUtf8(id, "collection.name"); !status.ok()) return status;
  if (Status status = CheckUtf8(update.etag, "collection.etag"); !status.ok()) return status;
  v1::UpdateCollectionRequest request;
  ToProto(update, &request);
  // To the server an empty mask means the fields that are set, so none.
  if (request.update_mask().paths().empty()) {
    return Status(Code::kInvalidArgument, "no field to change is named", "update_mask");
  }
  request.mutable_collection()->set_name(CollectionName(id));
  request.mutable_collection()->set_etag(update.etag);
  request.set_validate_only(validate_only);
  v1::UpdateCollectionResponse response;
  int attempts = 0;
  const Status status =
      impl_->Call(*impl_->collections, &v1::CollectionService::Stub::UpdateCollection, request,
                  &response, &attempts);
  if (status.code() == Code::kAborted && attempts > 1 && !validate_only) {
    // An attempt whose reply was lost may have changed it, and with it the etag.
    Result<Collection> stored = GetCollection(id);
    if (stored.ok() && Agrees(update, *stored)) return stored;
  }
  if (!status.ok()) return status;
  return FromProto(response.collection());
}

}  // namespace vecino
