// The collections of a server, by id.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/collection.h"
#include "server/engine/drift.h"

namespace vecino::engine {

// A collection that is taken out lives on until the last call that found it returns.
// Thread safety: all methods are safe from any thread; the lock is held for a look-up only.
class Registry {
 public:
  // By the id of the collection, or of an alias that points to it now. NOT_FOUND, naming it.
  absl::StatusOr<std::shared_ptr<Collection>> Find(std::string_view id) const;
  // By its own id only.
  absl::StatusOr<std::shared_ptr<Collection>> FindExact(std::string_view id) const;
  // The id of the collection that an alias points to; nullopt: it is no alias.
  std::optional<std::string> AliasTarget(std::string_view id) const;
  // In order of id.
  std::vector<std::shared_ptr<Collection>> All() const;

  // The id must not be there yet.
  void Insert(std::shared_ptr<Collection> collection);
  void Erase(std::string_view id);
  // Puts the other side of a collection in its place, for its aliases too: a look-up finds the one
  // or the other.
  void Replace(std::shared_ptr<Collection> collection);
  // Points an alias, new or not, to a collection: a look-up finds the one or the other. No
  // collection has the alias' id, and none goes while an alias points to it.
  void SetAlias(std::string_view alias, std::shared_ptr<Collection> target);
  void EraseAlias(std::string_view alias);
  void Clear();

  // The sums over all collections. No collection outlives the call because of it.
  struct Totals {
    int64_t collections = 0;
    ShardStats sums;
    // By number of Drift: the worst of any shard (0: none is known), and shards for which it is
    // due.
    struct Drifted {
      double worst = 0;
      int64_t due = 0;
    };
    std::array<Drifted, kDriftSignals> drift = {};
  };
  Totals Sum() const;

 private:
  using Map = std::map<std::string, std::shared_ptr<Collection>, std::less<>>;
  mutable absl::Mutex mu_;
  Map collections_ ABSL_GUARDED_BY(mu_);
  Map aliases_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
