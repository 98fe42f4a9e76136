// Long-running work as the engine's door has it: started, looked at, waited for, written down.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/collection.h"
#include "server/engine/event_bus.h"
#include "server/engine/maintenance_policy.h"
#include "server/engine/operation.h"
#include "server/engine/operation_estimate.h"
#include "server/engine/registry.h"
#include "server/engine/token_waits.h"
#include "storage/store.h"

namespace vecino::engine {

// Thread safety: all methods are safe from any thread; Start one at a time, and not beside the
// deletion of a collection.
class EngineOperations {
 public:
  // All must outlive it.
  EngineOperations(storage::Store* store, const Registry* registry, EventBus* events);

  // What an earlier start left. Once, when every collection is in the registry. A record that
  // cannot be read is dropped, with a warning: it is a report of work, not data. goes_on: ids of
  // those whose work goes on.
  absl::Status Load(const std::set<std::string>& goes_on = {});

  // These do what those of Engine with the same names say.
  absl::StatusOr<Operation::Info> Start(const std::shared_ptr<Collection>& collection,
                                        Operation::Type type, std::span<const int> shards,
                                        double min_recall);
  // An operation that its caller does the work of.
  absl::StatusOr<std::shared_ptr<Operation>> Create(const Collection& collection,
                                                    Operation::Type type,
                                                    std::span<const int> shards);
  absl::StatusOr<OperationEstimate> Estimate(const Collection& collection, Operation::Type type,
                                             std::span<const int> shards, int threads,
                                             const MaintenancePolicy& policy) const;
  absl::StatusOr<Operation::Info> Get(const Collection& collection, std::string_view id) const;
  absl::StatusOr<std::vector<Operation::Info>> List(const Collection& collection,
                                                    std::string_view after, int limit) const;
  absl::Status Cancel(const Collection& collection, std::string_view id);
  absl::Status Delete(const Collection& collection, std::string_view id);
  absl::StatusOr<Operation::Info> Wait(const Collection& collection, std::string_view id,
                                       absl::Duration timeout, const CallContext& context) const;

  // The id of a kPurge or kPatch that runs on the collection; empty: none does.
  std::string FindChanging(const Collection& collection) const;
  // Null: there is none.
  std::shared_ptr<Operation> FindOperation(std::string_view collection, std::string_view id) const;
  // Runs `fn`, which may give the collection another uid, while no operation is written down.
  absl::Status WhileQuiet(absl::FunctionRef<absl::Status()> fn) ABSL_LOCKS_EXCLUDED(records_mu_);

  // The collection was deleted.
  void Drop(std::string_view collection, const absl::Status& why) { kept_.Drop(collection, why); }
  // Wakes those that wait; none waits any more.
  void StopWaits() { waits_.Stop(); }

 private:
  absl::StatusOr<OperationRegistry::Created> Make(const Collection& collection,
                                                  Operation::Type type, std::span<const int> shards,
                                                  double min_recall = 0);
  absl::Status Put(const Operation::Info& info) const;
  void Erase(const Operation::Info& info) const;
  void Tell(Event::Kind kind, const Operation::Info& info, std::string message) const;

  mutable absl::Mutex records_mu_;  // between asking for a collection's uid and writing under it
  storage::Store& store_;
  const Registry& registry_;
  EventBus& events_;
  OperationRegistry kept_;
  mutable TokenWaits waits_;
};

}  // namespace vecino::engine
