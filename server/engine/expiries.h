// Which documents of a shard expire, and when.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/synchronization/mutex.h"

namespace vecino::engine {

// The live documents that have an expire time, by that time; about 20 bytes each. Times are
// microseconds since the Unix epoch, sequences those of the versions. A document that has expired
// stays until it is removed: until then it is "due".
//
// Thread safety: all methods are safe from any thread. While nothing is due, the questions take one
// load of a number; otherwise they block for as long as it takes to walk over what is due.
class Expiries {
 public:
  // expire_time_us: 0 does nothing, as such a document never expires.
  void Add(int64_t expire_time_us, uint64_t sequence);
  void Remove(int64_t expire_time_us, uint64_t sequence);

  // Whether nothing has expired by `now_us`. Never blocks.
  bool NothingDue(int64_t now_us) const { return first_.load(std::memory_order_acquire) > now_us; }
  // What has expired by `now_us`: sequences ascending; how many.
  std::vector<uint64_t> Due(int64_t now_us) const;
  int64_t CountDue(int64_t now_us) const;
  // Of that, those up to `limit` that expired first, in this order.
  std::vector<uint64_t> FirstDue(int64_t now_us, size_t limit) const;

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  void SetFirst() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::atomic<int64_t> first_{kNever};  // the earliest expire time
  mutable absl::Mutex mu_;
  absl::btree_set<std::pair<int64_t, uint64_t>> by_time_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
