#include "server/rpc/snapshot_conversions.h"

#include <string>

#include "server/rpc/conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/status.h"

namespace vecino::rpc {

using engine::Operation;

void WriteSnapshot(const engine::SnapshotInfo& info, v1::Snapshot* out) {
  out->set_name(SnapshotName(info.id));
  if (!info.damage.ok()) {
    const absl::string_view why = info.damage.message();
    out->set_damage(std::string(why));
    return;
  }
  WriteTime(info.create_time, out->mutable_create_time());
  out->set_server_version(info.server_version);
  for (const engine::SnapshotInfo::Collection& collection : info.collections) {
    v1::SnapshotCollection& one = *out->add_collections();
    one.set_collection(CollectionName(collection.id));
    one.set_document_count(collection.documents);
  }
  out->set_document_count(info.documents);
  out->set_size_bytes(info.bytes);
}

void WriteSnapshotOperation(const Operation::Info& info, google::longrunning::Operation* out) {
  out->set_name(SnapshotOperationNameOf(info.collection, info.id));
  out->set_done(info.done);
  v1::SnapshotOperationMetadata metadata;
  metadata.set_type(info.type == Operation::Type::kSnapshot
                        ? v1::SnapshotOperationMetadata::TYPE_CREATE
                        : v1::SnapshotOperationMetadata::TYPE_RESTORE);
  metadata.set_snapshot(SnapshotName(info.collection));
  WriteTime(info.create_time, metadata.mutable_create_time());
  if (info.done) WriteTime(info.end_time, metadata.mutable_end_time());
  metadata.set_cancel_requested(info.cancel_requested);
  if (!info.parts.empty()) {
    metadata.set_stage(info.parts[0].stage);
    metadata.set_rows_done(info.parts[0].rows_done);
    metadata.set_rows_total(info.parts[0].rows_total);
  }
  const engine::SnapshotWork work =
      info.snapshot == nullptr ? engine::SnapshotWork() : *info.snapshot;
  for (const std::string& id : work.collections) metadata.add_collections(CollectionName(id));
  out->mutable_metadata()->PackFrom(metadata);
  if (!info.done) return;
  if (!info.status.ok()) {
    ToRpcStatus(info.status, out->mutable_error());
  } else if (info.type == Operation::Type::kSnapshot) {
    v1::Snapshot snapshot;
    if (work.made.has_value()) WriteSnapshot(*work.made, &snapshot);
    out->mutable_response()->PackFrom(snapshot);
  } else {
    v1::RestoreSnapshotResponse response;
    for (const std::string& id : work.collections) response.add_collections(CollectionName(id));
    out->mutable_response()->PackFrom(response);
  }
}

void WriteReport(const engine::IntegrityReport& report, v1::VerifyIntegrityResponse* out) {
  if (report.finding.has_value()) {
    const engine::IntegrityReport::Finding& from = *report.finding;
    v1::IntegrityFinding& to = *out->mutable_finding();
    if (!from.collection.empty()) to.set_name(CollectionName(from.collection));
    if (!from.snapshot.empty()) to.set_name(SnapshotName(from.snapshot));
    to.set_location(from.where);
    to.set_problem(from.problem);
    to.set_advice(from.advice);
  }
  out->set_stage(report.stage);
  out->set_rows_checked(report.rows);
  out->set_bytes_checked(report.bytes);
  out->set_finding_count(report.findings);
  out->set_done(report.done);
}

}  // namespace vecino::rpc
