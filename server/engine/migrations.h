// Migrations of collections' embeddings to another model: docs/migration.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "encoder/encoder.h"
#include "server/engine/aliases.h"
#include "server/engine/collection.h"
#include "server/engine/engine_operations.h"
#include "server/engine/event_bus.h"
#include "server/engine/follower.h"
#include "server/engine/migration_info.h"
#include "server/engine/migration_state.h"
#include "server/engine/operation_estimate.h"
#include "server/engine/overlap.h"
#include "server/engine/registry.h"
#include "storage/store.h"

namespace vecino::engine {

// A collection in migration has two sides, each a Collection with shards of its own. One is active:
// it is in the registry, and callers see nothing else. The other is hidden, and a Follower keeps it
// equal. A thread looks after those that are built.
//
// Invariants:
//  M1. The hidden side of a collection is in the store as long as it is here.
//  M2. While both are there, the active side's change log is held from where the follower is.
//  M3. The sides change places while no write is under way and the hidden one lacks none.
//
// Locks, in order: `definitions`, the follower's and the registry's, mu_.
// Thread safety: as said at each method.
class Migrations {
 public:
  // All must outlive it. definitions: held by whoever creates, changes, deletes or migrates
  // collections.
  struct Parts {
    storage::Store* store = nullptr;
    encoder::Encoder* encoder = nullptr;
    Registry* registry = nullptr;
    Aliases* aliases = nullptr;
    EngineOperations* operations = nullptr;
    EventBus* events = nullptr;
    absl::Mutex* definitions = nullptr;
    CollectionContext context;
    int threads = 1;  // of maintenance, for estimates
  };
  explicit Migrations(Parts parts) : parts_(std::move(parts)) {}
  ~Migrations() { Stop(); }
  Migrations(const Migrations&) = delete;
  Migrations& operator=(const Migrations&) = delete;

  // At start, in this order. Open makes the hidden sides, of the collections that were read from
  // the store, for the caller to load beside them; one whose record cannot be read is removed, with
  // a warning: the collection itself lacks nothing. Run begins the work, once everything is loaded.
  absl::StatusOr<std::vector<std::shared_ptr<Collection>>> Open(
      const std::vector<std::shared_ptr<Collection>>& collections);
  // Ids of operations whose work goes on.
  std::set<std::string> Operations() const;
  void Run();

  // These do what those of Engine say; `definitions` is held.
  absl::StatusOr<Operation::Info> Start(const std::shared_ptr<Collection>& collection,
                                        const MigrationRequest& request);
  absl::Status Finish(const Collection& collection, std::optional<MigrationSide> keep);
  // After the collection was changed in the store, for the side that callers do not see.
  void SetIndex(const Collection& collection, const IndexSpec& spec);
  // Before and after a collection is dropped from the store.
  void Close(const Collection& collection, const absl::Status& why);
  void Reopen(const Collection& collection);
  // Removes the index files of the side that callers do not see. Blocks on the disk.
  void Forget(const Collection& collection);

  // `definitions` is not held.
  // closed: how long writes may wait for it.
  static constexpr absl::Duration kMostClosed = absl::Seconds(10);
  absl::Status Switch(const Collection& collection, MigrationSide to, const CallContext& context,
                      absl::Duration closed = kMostClosed);
  absl::StatusOr<OperationEstimate> Estimate(const Collection& collection,
                                             const MigrationRequest& request,
                                             const CallContext& context) const;

  // From any thread. nullopt: no migration.
  std::optional<MigrationInfo> Info(const Collection& collection) const;
  // Writes that hidden sides lack.
  int64_t Lag() const;

  // Ends the threads; what they did not finish goes on at the next start. Idempotent. Blocks.
  // `definitions` is not held.
  void Stop();

 private:
  struct Migration {
    std::string collection;  // id
    std::shared_ptr<Collection> active, hidden;
    std::shared_ptr<const MigrationState> state;
    std::shared_ptr<Follower> follower;
    std::shared_ptr<Operation> operation;  // null: it is done

    MigrationSide side() const {
      return state->switched ? MigrationSide::kNew : MigrationSide::kOld;
    }
  };

  // When something is tried again that could not be done.
  struct Retry {
    absl::Time at = absl::InfinitePast();
    absl::Duration pause;  // before it
    bool Waits() const;
    void Later(absl::Duration first, absl::Duration longest);
  };
  struct Attempts {
    Retry work, cut_over, end;
    std::vector<OverlapQuery> overlap_queries;
    absl::Time quiet_by = absl::InfiniteFuture();  // until then a cut-over waits for a quiet moment
  };

  // What the hidden side will be.
  absl::StatusOr<storage::CollectionRecord> MakeSide(const Collection& collection,
                                                     const MigrationRequest& request) const;
  // NOT_FOUND when the collection has no migration, or another than this.
  absl::StatusOr<Migration> Find(const Collection& collection) const;
  absl::StatusOr<Migration> Again(const Migration& migration) const;
  absl::Status CheckNone(const Collection& collection) const;
  static MigrationInfo Describe(const Migration& migration);
  void Tell(std::string_view collection, std::string message) const;

  // `definitions` is held.
  absl::StatusOr<std::shared_ptr<Collection>> AddSide(const Collection& collection,
                                                      storage::CollectionRecord record,
                                                      const MigrationState& state);
  absl::Status End(const Migration& migration, const std::string& why);
  // Lets the sides change places.
  absl::Status SwitchHeld(const Migration& migration, absl::Time deadline);
  // While nothing is written to the active side and the hidden one lacks nothing.
  absl::Status SwitchQuiet(const Migration& migration);
  absl::Status Put(const Migration& migration, MigrationState state);

  // The thread.
  void Work(std::stop_token stop);
  void Advance(const Migration& migration, std::stop_token stop);
  void Build(const Migration& migration, std::stop_token stop);
  void CutOver(const Migration& migration, std::stop_token stop);
  // Ends the operation; the migration stays.
  void Settle(const Migration& migration, const absl::Status& status);
  // Ends the operation and the migration.
  void Abandon(const Migration& migration, const absl::Status& why);
  void Check(const Migration& migration, std::stop_token stop);
  absl::StatusOr<int64_t> CountUnembeddable(const Migration& migration, std::stop_token stop) const;

  const Parts parts_;
  mutable absl::Mutex mu_;
  absl::CondVar changed_;
  // By id. Changed with `definitions` held.
  std::map<std::string, Migration, std::less<>> migrations_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, Attempts> attempts_;  // by id of the operation; the thread's own
  std::jthread thread_;
};

}  // namespace vecino::engine
