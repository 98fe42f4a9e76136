// The threads that drain and merge, out of the way of requests.
#pragma once

#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/engine_metrics.h"
#include "server/engine/shard.h"

namespace vecino::engine {

// Runs Shard::Maintain for shards that have work, one call at a time for each shard, in turn when
// several have some. A failed call is logged, counted and tried again after 0.1 s, doubled up to a
// minute. A shard that nobody else holds any more is forgotten.
//
// Thread safety: all methods are safe from any thread.
class Maintenance {
 public:
  // Starts `threads` threads at nice 19 and SCHED_BATCH, and one more that does short work only:
  // while every other thread trains or links for minutes, full tails are drained all the same.
  // `metrics` must outlive it.
  Maintenance(int threads, EngineMetrics* metrics);
  ~Maintenance() { Stop(); }

  // Asks for a look at the shard. Does not block.
  void Notify(const std::shared_ptr<Shard>& shard);

  // Blocks until no shard waits, works or is due for another try; a look that is due later does not
  // count. For tests.
  void WaitIdle();

  // Shards that wait, work or are due for another try.
  int Backlog() const;

  // Stops the calls under way at their next pause, starts no more, ends the threads. Idempotent.
  void Stop();

 private:
  struct Job {
    std::weak_ptr<Shard> shard;
    absl::Time due;
    bool running = false;
    bool idle = false;        // nothing to do before `due`, unless notified
    bool again = false;       // Notify came while running
    bool wants_long = false;  // not for the thread of short work
    int failures = 0;         // in a row
  };

  void Loop(Shard::Effort effort);
  int BacklogLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // The waiting job for a thread of this sort that is due first, and when; null and the infinite
  // future when none waits.
  const Shard* NextDue(Shard::Effort effort, absl::Time* due) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  EngineMetrics* const metrics_;
  mutable absl::Mutex mu_;
  absl::CondVar changed_;
  // By address, which is not reused while the weak_ptr in the job keeps the memory.
  absl::flat_hash_map<const Shard*, Job> jobs_ ABSL_GUARDED_BY(mu_);
  std::stop_source stop_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace vecino::engine
