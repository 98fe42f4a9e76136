// Client's calls about snapshots and checks of what is stored.
#include <string_view>

#include "client/conversions.h"
#include "client/error_details.h"
#include "client/impl.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::FromProto;
using internal::LastPart;

namespace longrunning = google::longrunning;

constexpr std::string_view kSnapshots = "snapshots/";

std::string SnapshotName(const std::string& id) { return std::string(kSnapshots) + id; }

std::string OperationNameOf(const std::string& snapshot, const std::string& id) {
  return SnapshotName(snapshot) + "/operations/" + id;
}

Snapshot ToSnapshot(const v1::Snapshot& message) {
  Snapshot snapshot;
  snapshot.id = LastPart(message.name());
  if (message.has_create_time()) snapshot.create_time = FromProto(message.create_time());
  snapshot.server_version = message.server_version();
  for (const v1::SnapshotCollection& collection : message.collections()) {
    snapshot.collections.push_back(
        {LastPart(collection.collection()), collection.document_count()});
  }
  snapshot.documents = message.document_count();
  snapshot.bytes = message.size_bytes();
  snapshot.damage = message.damage();
  return snapshot;
}

SnapshotOperation ToOperation(const longrunning::Operation& message) {
  SnapshotOperation operation;
  operation.id = LastPart(message.name());
  operation.done = message.done();
  if (message.has_error()) operation.status = internal::FromRpc(message.error());
  v1::SnapshotOperationMetadata metadata;
  if (!message.metadata().UnpackTo(&metadata)) return operation;
  operation.snapshot = LastPart(metadata.snapshot());
  operation.type = metadata.type() == v1::SnapshotOperationMetadata::TYPE_RESTORE
                       ? SnapshotOperation::Type::kRestore
                       : SnapshotOperation::Type::kCreate;
  for (const std::string& name : metadata.collections()) {
    operation.collections.push_back(LastPart(name));
  }
  operation.create_time = FromProto(metadata.create_time());
  operation.end_time = FromProto(metadata.end_time());
  operation.cancel_requested = metadata.cancel_requested();
  operation.stage = metadata.stage();
  operation.rows_done = metadata.rows_done();
  operation.rows_total = metadata.rows_total();
  v1::Snapshot made;
  if (message.response().UnpackTo(&made)) operation.made = ToSnapshot(made);
  return operation;
}

IntegrityReport ToReport(const v1::VerifyIntegrityResponse& message) {
  IntegrityReport report;
  if (message.has_finding()) {
    const v1::IntegrityFinding& from = message.finding();
    IntegrityFinding& to = report.finding.emplace();
    (from.name().starts_with(kSnapshots) ? to.snapshot : to.collection) = LastPart(from.name());
    to.location = from.location();
    to.problem = from.problem();
    to.advice = from.advice();
  }
  report.stage = message.stage();
  report.rows = message.rows_checked();
  report.bytes = message.bytes_checked();
  report.findings = message.finding_count();
  report.done = message.done();
  return report;
}

}  // namespace

Result<SnapshotOperation> Client::CreateSnapshot(const std::string& id,
                                                 const std::vector<std::string>& collections) {
  if (Status status = CheckUtf8(id, "snapshot_id"); !status.ok()) return status;
  v1::CreateSnapshotRequest request;
  request.set_snapshot_id(id);
  for (const std::string& collection : collections) {
    if (Status status = CheckUtf8(collection, "collections"); !status.ok()) return status;
    request.add_collections(CollectionName(collection));
  }
  longrunning::Operation response;
  const Status status =
      impl_->Call(*impl_->admin, &v1::AdminService::Stub::CreateSnapshot, request, &response);
  if (!status.ok()) return status;
  return ToOperation(response);
}

Result<std::vector<Snapshot>> Client::ListSnapshots() {
  std::vector<Snapshot> snapshots;
  v1::ListSnapshotsRequest request;
  request.set_page_size(1'000);
  do {
    v1::ListSnapshotsResponse response;
    const Status status =
        impl_->Call(*impl_->admin, &v1::AdminService::Stub::ListSnapshots, request, &response);
    if (!status.ok()) return status;
    for (const v1::Snapshot& snapshot : response.snapshots()) {
      snapshots.push_back(ToSnapshot(snapshot));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return snapshots;
}

Result<SnapshotOperation> Client::RestoreSnapshot(const std::string& id, const std::string& source,
                                                  const std::string& collection) {
  if (Status status = CheckUtf8(id, "name"); !status.ok()) return status;
  if (Status status = CheckUtf8(source, "source_collection"); !status.ok()) return status;
  if (Status status = CheckUtf8(collection, "collection_id"); !status.ok()) return status;
  v1::RestoreSnapshotRequest request;
  request.set_name(SnapshotName(id));
  if (!source.empty()) request.set_source_collection(CollectionName(source));
  request.set_collection_id(collection);
  longrunning::Operation response;
  const Status status =
      impl_->Call(*impl_->admin, &v1::AdminService::Stub::RestoreSnapshot, request, &response);
  if (!status.ok()) return status;
  return ToOperation(response);
}

Status Client::DeleteSnapshot(const std::string& id) {
  if (Status status = CheckUtf8(id, "name"); !status.ok()) return status;
  v1::DeleteSnapshotRequest request;
  request.set_name(SnapshotName(id));
  v1::DeleteSnapshotResponse response;
  int attempts = 0;
  Status status = impl_->Call(*impl_->admin, &v1::AdminService::Stub::DeleteSnapshot, request,
                              &response, &attempts);
  // An attempt whose reply was lost may have deleted it.
  if (status.code() == Code::kNotFound && attempts > 1) return Status();
  return status;
}

Result<SnapshotOperation> Client::WaitSnapshotOperation(const std::string& snapshot,
                                                        const std::string& id,
                                                        std::chrono::milliseconds timeout) {
  const auto operation = impl_->WaitOperation(OperationNameOf(snapshot, id), timeout);
  if (!operation.ok()) return operation.status();
  return ToOperation(*operation);
}

Status Client::CancelSnapshotOperation(const std::string& snapshot, const std::string& id) {
  return impl_->CancelOperation(OperationNameOf(snapshot, id));
}

Status Client::VerifyIntegrity(const std::string& collection, const std::string& snapshot,
                               const IntegrityFn& take) {
  if (Status status = CheckUtf8(collection, "name"); !status.ok()) return status;
  if (Status status = CheckUtf8(snapshot, "name"); !status.ok()) return status;
  if (!collection.empty() && !snapshot.empty()) {
    return Status(Code::kInvalidArgument, "a check is of a collection or of a snapshot, not both");
  }
  v1::VerifyIntegrityRequest request;
  if (!collection.empty()) request.set_name(CollectionName(collection));
  if (!snapshot.empty()) request.set_name(SnapshotName(snapshot));
  grpc::ClientContext context;
  const auto reader = impl_->admin->VerifyIntegrity(&context, request);
  for (v1::VerifyIntegrityResponse message; reader->Read(&message);) {
    if (Status ours = take(ToReport(message)); !ours.ok()) {
      context.TryCancel();
      reader->Finish();
      return ours;
    }
  }
  const grpc::Status reply = reader->Finish();
  return reply.ok() ? Status() : internal::FromGrpc(reply);
}

}  // namespace vecino
