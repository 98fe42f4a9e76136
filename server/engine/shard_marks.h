// The marks of one shard in memory, as the store has them or will have them with its next write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "storage/mark.h"

namespace vecino::engine {

// Which stream a write belongs to, for the shard's commit.
struct StreamPlace {
  std::string token;         // empty: it cannot be taken up, and has no mark
  uint64_t all_through = 0;  // as in storage::Mark, of what is known before the commit
};

// The stream by which a collection's hidden side gets the writes of the other one: items are that
// side's sequence numbers. No caller has such a token: theirs are UTF-8.
inline constexpr std::string_view kFollowerToken =
    "\xff"
    "follower";

// Adds what became of an item above mark->through. code: absl::StatusCode, 0 for one that was
// written.
void AddToMark(uint64_t item, int code, storage::Mark* mark);

// How the item ended, as `mark` remembers it: OK, or an error with the code it had.
absl::Status RememberedStatus(const storage::Mark& mark, uint64_t item);

// Thread safety: all methods are safe from any thread; none blocks.
class ShardMarks {
 public:
  void Set(storage::Mark mark);
  // One with numbers of 0 when there is none.
  storage::Mark Get(std::string_view token) const;
  void Forget(std::string_view token);
  std::vector<storage::Mark> All() const;
  // These are all there are.
  void Replace(std::vector<storage::Mark> marks);

 private:
  mutable absl::Mutex mu_;
  absl::flat_hash_map<std::string, storage::Mark> marks_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
