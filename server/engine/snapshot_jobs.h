// Snapshots of the engine's store: made and restored one after another, on a thread of low
// priority.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "encoder/encoder.h"
#include "server/engine/collection.h"
#include "server/engine/event_bus.h"
#include "server/engine/integrity_run.h"
#include "server/engine/operation.h"
#include "server/engine/registry.h"
#include "server/engine/snapshots.h"
#include "server/engine/token_waits.h"
#include "storage/snapshot_folder.h"
#include "storage/store.h"

namespace vecino::engine {

// Thread safety and errors: as Snapshots says. Locks, in order: `definitions`, mu_.
class SnapshotJobs final : public Snapshots {
 public:
  static constexpr size_t kMaxWaiting = 64;

  // All must outlive it. definitions: held by whoever creates or deletes collections.
  struct Parts {
    storage::Store* store = nullptr;
    encoder::Encoder* encoder = nullptr;
    Registry* registry = nullptr;
    EventBus* events = nullptr;
    absl::Mutex* definitions = nullptr;
    CollectionContext context;
    std::string folder;  // of snapshots; empty: there can be none
    std::string server_version;
  };
  explicit SnapshotJobs(Parts parts);
  ~SnapshotJobs() override { Stop(); }

  // Makes the folder and removes what a crash left. Before anything else. Errors as SnapshotFolder.
  absl::Status Open();
  // Ends what runs at its next step, what waits, and the checks, with UNAVAILABLE. Idempotent.
  // Blocks until then.
  void Stop();
  // Wakes those that wait for operations; none waits any more. Checks end. Does not block.
  void StopWaits() {
    waits_.Stop();
    checks_.AskToStop();
  }

  absl::StatusOr<Operation::Info> Create(std::string_view id,
                                         std::span<const std::string> collections) override;
  absl::StatusOr<std::vector<SnapshotInfo>> List(std::string_view after, int limit) const override;
  absl::Status Delete(std::string_view id) override;
  absl::StatusOr<Operation::Info> Restore(const RestoreRequest& request) override;
  absl::StatusOr<std::unique_ptr<IntegrityCheck>> Verify(const IntegrityRequest& request) override;
  absl::StatusOr<Operation::Info> GetOperation(std::string_view snapshot,
                                               std::string_view id) const override;
  absl::StatusOr<std::vector<Operation::Info>> ListOperations(std::string_view snapshot,
                                                              std::string_view after,
                                                              int limit) const override;
  absl::Status CancelOperation(std::string_view snapshot, std::string_view id) override;
  absl::Status DeleteOperation(std::string_view snapshot, std::string_view id) override;
  absl::StatusOr<Operation::Info> WaitOperation(std::string_view snapshot, std::string_view id,
                                                absl::Duration timeout,
                                                const CallContext& context) const override;

 private:
  // Reports to the operation; its status ends it.
  using WorkFn = std::function<absl::Status(Operation& operation, std::stop_token stop)>;
  struct Job {
    std::shared_ptr<Operation> operation;
    WorkFn work;
  };

  absl::Status CheckOpen() const;
  // Makes an operation of the work and queues it. Until the work has ended the snapshot can be
  // neither deleted nor made again. snapshot: empty for one whose id is the time. Errors as of
  // Create and Restore.
  absl::StatusOr<Operation::Info> Start(std::string_view snapshot, Operation::Type type,
                                        SnapshotWork described, WorkFn work);
  void Release(const std::string& snapshot);
  void Work(std::stop_token stop);
  absl::Status Copy(const std::string& id, const std::vector<std::string>& collections,
                    Operation& operation, std::stop_token stop);
  absl::Status RestoreNow(const std::string& id, const storage::SnapshotManifest& manifest,
                          const std::vector<storage::RestoreTarget>& targets, Operation& operation,
                          std::stop_token stop);
  // Restored collections go into service.
  absl::Status Serve(const storage::SnapshotManifest& manifest,
                     const std::vector<storage::RestoreTarget>& targets,
                     const std::vector<storage::CollectionRecord>& records, Operation& operation,
                     std::stop_token stop);

  const Parts parts_;
  storage::SnapshotFolder folder_;
  OperationRegistry operations_;
  mutable TokenWaits waits_;
  IntegrityRuns checks_;
  mutable absl::Mutex mu_;
  absl::CondVar changed_;
  std::deque<Job> waiting_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> held_ ABSL_GUARDED_BY(mu_);  // snapshots with work, and how much
  std::set<std::string> deleting_ ABSL_GUARDED_BY(mu_);   // those among them that Delete has
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: it uses everything above
};

// How a snapshot's manifest is told of.
SnapshotInfo ToSnapshotInfo(std::string id, const storage::SnapshotManifest& manifest);

}  // namespace vecino::engine
