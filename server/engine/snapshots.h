// The part of the engine's door that is about snapshots and checks of what is stored.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/operation.h"
#include "server/engine/snapshot_info.h"
#include "server/engine/types.h"

namespace vecino::engine {

// A check that runs, on a thread of its own at the lowest priority. Its end stops it. Thread
// safety: none, but WakeWhenReady's `wake` comes from any thread.
class IntegrityCheck {
 public:
  virtual ~IntegrityCheck() = default;

  // True when Next has something to return now. Otherwise `wake` is called when it has, once or
  // more often. It must not block.
  virtual bool WakeWhenReady(const std::function<void()>& wake) = 0;
  // The next report; nullopt: none yet. After the one that is `done` OK is returned no more, if
  // nothing was found nullopt, else DATA_LOSS saying how much. UNAVAILABLE when the engine stops;
  // NOT_FOUND when what is checked was deleted, or its embeddings were replaced; DEADLINE_EXCEEDED
  // when nothing was taken for minutes.
  virtual absl::StatusOr<std::optional<IntegrityReport>> Next() = 0;
};

// Thread safety: all methods are safe from any thread. They block on disk, but not for the work
// itself. docs/snapshots.md tells how it is done. Errors of all: UNAVAILABLE when the engine stops;
// FAILED_PRECONDITION when the server has no folder for snapshots.
//
// Operations here are of a snapshot: Operation::Info::collection holds its id, the one part is
// shard 0. The last OperationRegistry::kKeptDone that are done are known, until the server stops.
class Snapshots {
 public:
  virtual ~Snapshots() = default;

  // Copies collections (ids or aliases; none: all) as they are at one moment, which comes soon
  // after the call. id empty: one is made of the time. INVALID_ARGUMENT naming `snapshot_id` or
  // `collections`; NOT_FOUND; ALREADY_EXISTS; RESOURCE_EXHAUSTED when many wait. The operation ends
  // with RESOURCE_EXHAUSTED when the disk is full, NOT_FOUND when a collection was deleted
  // meanwhile, DATA_LOSS, CANCELLED; then there is no snapshot.
  virtual absl::StatusOr<Operation::Info> Create(std::string_view id,
                                                 std::span<const std::string> collections) = 0;
  // Up to `limit` (1 or more) in order of id, behind `after`. One whose manifest is damaged comes
  // with that.
  virtual absl::StatusOr<std::vector<SnapshotInfo>> List(std::string_view after,
                                                         int limit) const = 0;
  // NOT_FOUND; FAILED_PRECONDITION while it is restored, or deleted by another call. After
  // UNAVAILABLE it may be gone from List already; calling it again removes the rest.
  virtual absl::Status Delete(std::string_view id) = 0;
  // Checks the files and makes collections of them, all at once. INVALID_ARGUMENT naming
  // `collection` or `source`; NOT_FOUND; ALREADY_EXISTS when a collection or an alias has an id;
  // DATA_LOSS when the manifest is damaged; FAILED_PRECONDITION when a newer program wrote it;
  // RESOURCE_EXHAUSTED when many wait. The operation ends with these, with DATA_LOSS naming the
  // file, or CANCELLED; then nothing is there.
  virtual absl::StatusOr<Operation::Info> Restore(const RestoreRequest& request) = 0;

  // NOT_FOUND; INVALID_ARGUMENT when both are named; RESOURCE_EXHAUSTED when kMaxChecks run. The
  // check must not outlive the engine.
  static constexpr int kMaxChecks = 2;
  virtual absl::StatusOr<std::unique_ptr<IntegrityCheck>> Verify(
      const IntegrityRequest& request) = 0;

  // These do what those of Engine with the same names say.
  virtual absl::StatusOr<Operation::Info> GetOperation(std::string_view snapshot,
                                                       std::string_view id) const = 0;
  virtual absl::StatusOr<std::vector<Operation::Info>> ListOperations(std::string_view snapshot,
                                                                      std::string_view after,
                                                                      int limit) const = 0;
  virtual absl::Status CancelOperation(std::string_view snapshot, std::string_view id) = 0;
  virtual absl::Status DeleteOperation(std::string_view snapshot, std::string_view id) = 0;
  virtual absl::StatusOr<Operation::Info> WaitOperation(std::string_view snapshot,
                                                        std::string_view id, absl::Duration timeout,
                                                        const CallContext& context) const = 0;
};

}  // namespace vecino::engine
