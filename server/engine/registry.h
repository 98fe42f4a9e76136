// The collections of a server, by id.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/collection.h"

namespace vecino::engine {

// A collection that is taken out lives on until the last call that found it returns.
// Thread safety: all methods are safe from any thread; the lock is held for a look-up only.
class Registry {
 public:
  // NOT_FOUND, naming the collection.
  absl::StatusOr<std::shared_ptr<Collection>> Find(std::string_view id) const;
  // In order of id.
  std::vector<std::shared_ptr<Collection>> All() const;

  // The id must not be there yet.
  void Insert(std::shared_ptr<Collection> collection);
  void Erase(std::string_view id);
  void Clear();

  // The sums over all collections. No collection outlives the call because of it.
  struct Totals {
    int64_t collections = 0;
    ShardStats sums;
  };
  Totals Sum() const;

 private:
  mutable absl::Mutex mu_;
  std::map<std::string, std::shared_ptr<Collection>, std::less<>> collections_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
