// Client's calls about long-running work.
#include <algorithm>

#include "client/conversions.h"
#include "client/impl.h"
#include "client/index_conversions.h"
#include "client/metadata_json.h"
#include "client/recall_conversions.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::FromProto;
using internal::OperationName;

namespace longrunning = google::longrunning;

template <typename Request>
Request StartRequest(const std::string& collection, const std::vector<int>& shards,
                     bool validate_only) {
  Request request;
  request.set_name(CollectionName(collection));
  request.mutable_shards()->Assign(shards.begin(), shards.end());
  request.set_validate_only(validate_only);
  return request;
}

}  // namespace

// Sent twice these do no harm: the server returns the retrain or compaction that runs already.
// (TuneIndex measures again.)
Result<Operation> Client::RetrainIndex(const std::string& collection,
                                       const std::vector<int>& shards, bool validate_only,
                                       double min_recall_gate) {
  if (Status status = CheckUtf8(collection, "name"); !status.ok()) return status;
  auto request = StartRequest<v1::RetrainIndexRequest>(collection, shards, validate_only);
  request.set_min_recall_gate(min_recall_gate);
  longrunning::Operation response;
  const Status status = impl_->Call(*impl_->collections, &v1::CollectionService::Stub::RetrainIndex,
                                    request, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

Result<Operation> Client::CompactIndex(const std::string& collection,
                                       const std::vector<int>& shards, bool validate_only) {
  if (Status status = CheckUtf8(collection, "name"); !status.ok()) return status;
  const auto request = StartRequest<v1::CompactIndexRequest>(collection, shards, validate_only);
  longrunning::Operation response;
  const Status status = impl_->Call(*impl_->collections, &v1::CollectionService::Stub::CompactIndex,
                                    request, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

Result<Operation> Client::TuneIndex(const std::string& collection, const TuningOptions& options,
                                    bool validate_only) {
  if (Status status = CheckUtf8(collection, "name"); !status.ok()) return status;
  v1::TuneIndexRequest request;
  if (Status status = internal::ToProto(options, &request); !status.ok()) return status;
  request.set_name(CollectionName(collection));
  request.set_validate_only(validate_only);
  longrunning::Operation response;
  const Status status =
      impl_->Call(*impl_->collections, &v1::CollectionService::Stub::TuneIndex, request, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

namespace {

// Of an operation that began, or else of what it would do.
template <typename Response>
DocumentChange Change(const longrunning::Operation& message, int64_t (Response::*count)() const,
                      const google::protobuf::RepeatedPtrField<std::string>& (Response::*sample)()
                          const) {
  DocumentChange change;
  change.operation = FromProto(message);
  Response response;
  if (!message.name().empty() || !message.response().UnpackTo(&response)) return change;
  change.count = (response.*count)();
  for (const std::string& name : (response.*sample)()) {
    constexpr std::string_view kDocuments = "/documents/";
    change.sample_ids.push_back(name.substr(name.find(kDocuments) + kDocuments.size()));
  }
  return change;
}

}  // namespace

Result<DocumentChange> Client::PurgeDocuments(const std::string& collection,
                                              const std::string& filter, bool force) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  if (Status status = CheckUtf8(filter, "filter"); !status.ok()) return status;
  v1::PurgeDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  request.set_filter(filter);
  request.set_force(force);
  longrunning::Operation response;
  const Status status = impl_->Call(*impl_->documents, &v1::DocumentService::Stub::PurgeDocuments,
                                    request, &response);
  if (!status.ok()) return status;
  return Change(response, &v1::PurgeDocumentsResponse::purge_count,
                &v1::PurgeDocumentsResponse::purge_sample);
}

Result<DocumentChange> Client::PatchDocuments(const std::string& collection,
                                              const std::string& filter,
                                              const std::string& patch_json, bool force) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  if (Status status = CheckUtf8(filter, "filter"); !status.ok()) return status;
  v1::PatchDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  request.set_filter(filter);
  request.set_force(force);
  Status status =
      internal::FromJson(patch_json, "metadata_patch", request.mutable_metadata_patch());
  if (!status.ok()) return status;
  longrunning::Operation response;
  status = impl_->Call(*impl_->documents, &v1::DocumentService::Stub::PatchDocuments, request,
                       &response);
  if (!status.ok()) return status;
  return Change(response, &v1::PatchDocumentsResponse::patch_count,
                &v1::PatchDocumentsResponse::patch_sample);
}

Result<Operation> Client::GetOperation(const std::string& collection, const std::string& id) {
  const std::string name = OperationName(collection, id);
  if (Status status = CheckUtf8(name, "name"); !status.ok()) return status;
  longrunning::GetOperationRequest request;
  request.set_name(name);
  longrunning::Operation response;
  const Status status = impl_->Call(
      *impl_->operations, &longrunning::Operations::Stub::GetOperation, request, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

Result<std::vector<Operation>> Client::ListOperations(const std::string& collection) {
  if (Status status = CheckUtf8(collection, "name"); !status.ok()) return status;
  std::vector<Operation> operations;
  longrunning::ListOperationsRequest request;
  request.set_name(CollectionName(collection));
  // One may have 256 shards with reasons and a curve, and a reply 4 MiB.
  request.set_page_size(50);
  do {
    longrunning::ListOperationsResponse response;
    const Status status = impl_->Call(
        *impl_->operations, &longrunning::Operations::Stub::ListOperations, request, &response);
    if (!status.ok()) return status;
    for (const longrunning::Operation& operation : response.operations()) {
      operations.push_back(FromProto(operation));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return operations;
}

Result<longrunning::Operation> Client::Impl::WaitOperation(const std::string& name,
                                                           std::chrono::milliseconds timeout) {
  if (Status status = CheckUtf8(name, "name"); !status.ok()) return status;
  longrunning::WaitOperationRequest request;
  request.set_name(name);
  const int64_t wait = std::max<int64_t>(timeout.count(), 0);
  request.mutable_timeout()->set_seconds(wait / 1'000);
  request.mutable_timeout()->set_nanos(static_cast<int32_t>(wait % 1'000 * 1'000'000));
  longrunning::Operation response;
  Status status =
      Call(*operations, &longrunning::Operations::Stub::WaitOperation, request, &response);
  if (!status.ok()) return status;
  return response;
}

Status Client::Impl::CancelOperation(const std::string& name) {
  if (Status status = CheckUtf8(name, "name"); !status.ok()) return status;
  longrunning::CancelOperationRequest request;
  request.set_name(name);
  google::protobuf::Empty response;
  return Call(*operations, &longrunning::Operations::Stub::CancelOperation, request, &response);
}

Result<Operation> Client::WaitOperation(const std::string& collection, const std::string& id,
                                        std::chrono::milliseconds timeout) {
  const auto operation = impl_->WaitOperation(OperationName(collection, id), timeout);
  if (!operation.ok()) return operation.status();
  return FromProto(*operation);
}

Status Client::CancelOperation(const std::string& collection, const std::string& id) {
  return impl_->CancelOperation(OperationName(collection, id));
}

Status Client::DeleteOperation(const std::string& collection, const std::string& id) {
  const std::string name = OperationName(collection, id);
  if (Status status = CheckUtf8(name, "name"); !status.ok()) return status;
  longrunning::DeleteOperationRequest request;
  request.set_name(name);
  google::protobuf::Empty response;
  int attempts = 0;
  Status status = impl_->Call(*impl_->operations, &longrunning::Operations::Stub::DeleteOperation,
                              request, &response, &attempts);
  // An attempt whose reply was lost may have deleted it.
  if (status.code() == Code::kNotFound && attempts > 1) return Status();
  return status;
}

}  // namespace vecino
