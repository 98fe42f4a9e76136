// The operations on snapshots, looked at and waited for.
#include <algorithm>
#include <stop_token>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/engine.h"
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
  TokenWaits::Place place(&waits_);
  if ((*operation)->done() || !place.Take().ok()) return (*operation)->Snapshot();
  std::stop_source stop;  // of the caller or of the engine
  const std::stop_callback caller(context.stop, [&] { stop.request_stop(); });
  const std::stop_callback engine(waits_.stop(), [&] { stop.request_stop(); });
  CallContext patience;
  patience.deadline =
      std::min(context.deadline, absl::Now() + std::min(timeout, Engine::kMaxOperationWait));
  patience.stop = stop.get_token();
  const absl::Status waited = (*operation)->Wait(patience);
  if (!waited.ok() && context.stop.stop_requested()) return waited;
  return (*operation)->Snapshot();
}

}  // namespace vecino::engine
