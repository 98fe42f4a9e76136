// Snapshots, work on them, and checks, between the contract and the engine.
#pragma once

#include "google/longrunning/operations.pb.h"
#include "server/engine/operation.h"
#include "server/engine/snapshot_info.h"
#include "vecino/v1/admin_service.pb.h"

namespace vecino::rpc {

void WriteSnapshot(const engine::SnapshotInfo& info, v1::Snapshot* out);
// info: of kSnapshot or kRestore. With SnapshotOperationMetadata, and the response or error once it
// is done.
void WriteSnapshotOperation(const engine::Operation::Info& info,
                            google::longrunning::Operation* out);
void WriteReport(const engine::IntegrityReport& report, v1::VerifyIntegrityResponse* out);

}  // namespace vecino::rpc
