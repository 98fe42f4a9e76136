// Keeps one side of a collection equal to the other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/collection.h"

namespace vecino::engine {

// A thread that carries writes from `from` to `to`: first the documents that are stored up to a
// write of each shard, then what the change log has after it. What a document is now is carried,
// not each version it had. How far it came is stored with what it wrote, so it goes on from there
// after a crash, and holds back the trimming of the log behind that.
//
// Invariant: whatever is written to `from`, once Lag is 0 and no write is under way, `to` has the
// same documents with the same texts, metadata and times.
//
// Thread safety: all methods are safe from any thread.
class Follower {
 public:
  // copy_through: by shard, see MigrationState; empty: nothing is to be copied. The change log of
  // `from` must be held for every shard, at 0 or at where the follower is.
  Follower(std::shared_ptr<Collection> from, std::shared_ptr<Collection> to,
           std::vector<uint64_t> copy_through);
  ~Follower();
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  struct Shard {
    int64_t copied = 0;    // documents, since this object was made
    int64_t lag = 0;       // writes that are to be carried yet, copies not counted
    bool copying = false;  // documents
  };
  Shard Progress(int shard) const;
  // Over all shards.
  int64_t Lag() const;
  bool Copying() const;
  // Not OK: why nothing is carried at the moment. It is tried again, ever more slowly.
  absl::Status problem() const;

  // Waits until nothing is copied any more and Lag is at most `lag`. DEADLINE_EXCEEDED, CANCELLED,
  // UNAVAILABLE (stopped), and, where there is a problem, that.
  absl::Status WaitFor(int64_t lag, const CallContext& context) const;

  // Stops at once; what is being carried may be done or not. Idempotent. Blocks.
  void Stop();

 private:
  void Run(std::stop_token stop);
  // The next piece of a shard; false: there is none.
  absl::StatusOr<bool> Step(int shard, std::stop_token stop);
  absl::StatusOr<std::vector<CarriedWrite>> NextDocuments(int shard);
  absl::StatusOr<std::vector<CarriedWrite>> NextChanges(int shard);
  bool Reached(int64_t lag) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int64_t LagOf(size_t shard) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<Collection> from_, to_;
  const std::vector<uint64_t> copy_through_;

  mutable absl::Mutex mu_;
  mutable absl::CondVar changed_;
  // By shard.
  std::vector<uint64_t> position_ ABSL_GUARDED_BY(mu_);  // carried up to this write of `from`
  std::vector<int64_t> copied_ ABSL_GUARDED_BY(mu_);
  std::vector<bool> copying_ ABSL_GUARDED_BY(mu_);
  absl::Status problem_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace vecino::engine
