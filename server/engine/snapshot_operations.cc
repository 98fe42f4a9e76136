// The operations on snapshots, looked at and waited for.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/engine/operation_wait.h"
#include "server/engine/snapshot_jobs.h"

namespace vecino::engine {
namespace {

// The registry's own words speak of a collection.
absl::Status NoOperation(std::string_view snapshot, const absl::Status& status) {
  if (!absl::IsNotFound(status)) return status;
  return absl::NotFoundError(absl::StrCat(
      "snapshot `", std::string(snapshot), "` has no such operation; the last ",
      OperationRegistry::kKeptDone, " that are done are known, until the server stops"));
}

}  // namespace

absl::StatusOr<Operation::Info> SnapshotJobs::GetOperation(std::string_view snapshot,
                                                           std::string_view id) const {
  const auto operation = operations_.Find(snapshot, id);
  if (!operation.ok()) return NoOperation(snapshot, operation.status());
  return (*operation)->Snapshot();
}

absl::StatusOr<std::vector<Operation::Info>> SnapshotJobs::ListOperations(std::string_view snapshot,
                                                                          std::string_view after,
                                                                          int limit) const {
  std::vector<Operation::Info> infos;
  for (const auto& operation :
       operations_.List(snapshot, after, static_cast<size_t>(std::max(limit, 0)))) {
    infos.push_back(operation->Snapshot());
  }
  return infos;
}

absl::Status SnapshotJobs::CancelOperation(std::string_view snapshot, std::string_view id) {
  const auto operation = operations_.Find(snapshot, id);
  if (!operation.ok()) return NoOperation(snapshot, operation.status());
  (*operation)->Cancel();
  return absl::OkStatus();
}

absl::Status SnapshotJobs::DeleteOperation(std::string_view snapshot, std::string_view id) {
  return NoOperation(snapshot, operations_.Delete(snapshot, id));
}

absl::StatusOr<Operation::Info> SnapshotJobs::WaitOperation(std::string_view snapshot,
                                                            std::string_view id,
                                                            absl::Duration timeout,
                                                            const CallContext& context) const {
  const auto operation = operations_.Find(snapshot, id);
  if (!operation.ok()) return NoOperation(snapshot, operation.status());
  return AwaitOperation(**operation, &waits_, timeout, context);
}

}  // namespace vecino::engine
