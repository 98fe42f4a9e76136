// Second names of collections: what they point to, durably.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/alias_info.h"
#include "server/engine/event_bus.h"
#include "server/engine/registry.h"
#include "storage/store.h"

namespace vecino::engine {

// Invariants:
//  A1. No id is both an alias' and a collection's.
//  A2. The collection that an alias points to exists.
//  A3. What the registry finds was durable before: the store first, then the registry.
//
// Thread safety: Get and List from any thread; of all others one at a time, and none beside the
// creation or deletion of a collection, which A1 and A2 need.
class Aliases {
 public:
  // All must outlive it. `registry` is told of every alias.
  Aliases(storage::Store* store, Registry* registry, EventBus* events)
      : store_(*store), registry_(*registry), events_(*events) {}

  // Once, when every collection is in the registry. DATA_LOSS.
  absl::Status Load();

  // INVALID_ARGUMENT for a bad id; ALREADY_EXISTS when an alias or a collection has it; NOT_FOUND
  // when there is no such collection.
  absl::StatusOr<AliasInfo> Create(std::string_view id, std::string_view target);
  // NOT_FOUND (alias, collection); ABORTED when expected_target is set and is not the current one,
  // also where the alias does not exist and is allowed not to; otherwise as Create.
  absl::StatusOr<AliasInfo> Update(const AliasUpdate& update);
  absl::StatusOr<AliasInfo> Get(std::string_view id) const;
  // In order of id.
  std::vector<AliasInfo> List() const;
  absl::Status Delete(std::string_view id);

  // The other side of a collection was put in its place, in the store and the registry.
  void Retarget(const Collection& before, const std::shared_ptr<Collection>& now);

  // FAILED_PRECONDITION naming those that point to the collection.
  absl::Status CheckUnused(const Collection& collection) const;

 private:
  struct Entry {
    std::shared_ptr<Collection> target;
    absl::Time create_time, update_time;
  };

  static AliasInfo InfoOf(const std::string& id, const Entry& entry);
  absl::StatusOr<AliasInfo> Point(std::string_view id, std::string_view target,
                                  absl::Time create_time);
  void Tell(std::string_view collection, std::string message);

  storage::Store& store_;
  Registry& registry_;
  EventBus& events_;
  mutable absl::Mutex mu_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
