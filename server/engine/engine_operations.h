// Long-running work as the engine's door has it: started, looked at, waited for, written down.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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
  // cannot be read is dropped, with a warning: it is a report of work, not data.
  absl::Status Load();

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

  storage::Store& store_;
  const Registry& registry_;
  EventBus& events_;
  OperationRegistry kept_;
  mutable TokenWaits waits_;
};

}  // namespace vecino::engine
