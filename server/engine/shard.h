// One shard of a collection: its log, its index, and the order of its writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/engine_metrics.h"
#include "server/engine/merge_policy.h"
#include "server/engine/token_waits.h"
#include "server/engine/types.h"
#include "server/engine/write_queue.h"
#include "server/index/shard_index.h"
#include "storage/shard_log.h"

namespace vecino::engine {

struct ShardOptions {
  std::string collection;  // id, for messages
  int number = 0;          // 0 to shard_count - 1
  index::Metric metric = index::Metric::kInnerProduct;
  int dimension = 0;
  int tail_capacity = 8192;  // rows; lowered so that a tail of long vectors stays under 64 MiB
  MergePolicy merge;
};

// Invariants:
//  D1. The log comes first: a write is applied to the index after Append returned OK, and before
//  its caller
//      hears of it. If the store refuses, the index is untouched.
//  D2. Applied changes are a prefix of the log, in order. Replay goes through the same Apply.
//  D3. appending_ is raised before the log is touched. So who finds in the store that a version is
//      gone can wait for the change that replaced it to reach the index.
//  D4. After Close no call changes the log.
//
// Locks, in order: the queue's, index_mu_, applied_mu_, the index' own.
// Thread safety: all methods are safe from any thread once Load returned.
class Shard {
 public:
  // Rebuilds the index from the log: stored vectors up to the manifest's sequence number, then the
  // change log. Blocks: reads every vector. `metrics` must outlive the shard. DATA_LOSS.
  static absl::StatusOr<std::shared_ptr<Shard>> Load(const ShardOptions& options,
                                                     std::unique_ptr<storage::ShardLog> log,
                                                     EngineMetrics* metrics);

  // `fn` is called after a write that leaves work for Maintain, on the writer's thread. Call once,
  // before the first write.
  void OnMaintenanceDue(std::function<void()> fn) { maintenance_due_ = std::move(fn); }

  // Commits the writes and sets the result of each; together with those of other callers when they
  // come at once. Vectors must have the shard's dimension and be as they are to be indexed.
  void Write(absl::Span<ShardWrite> writes, const CallContext& context);

  // The best k live rows at this moment. query: `dimension` floats.
  absl::StatusOr<std::vector<index::Hit>> Search(
      const float* query, int k, absl::FunctionRef<absl::Status()> checkpoint) const;

  // Whether the write `sequence` can be seen.
  bool IsApplied(uint64_t sequence) const {
    return applied_.load(std::memory_order_acquire) >= sequence;
  }
  // Waits until it can. DEADLINE_EXCEEDED, CANCELLED, why the shard was closed, or StoppedError
  // when `waits` is stopped. A call without a deadline waits for kMaxTokenWait at most. The caller
  // has a place in `waits`.
  absl::Status WaitApplied(uint64_t sequence, const CallContext& context,
                           const TokenWaits& waits) const;

  // Waits for the appends that are under way now. DEADLINE_EXCEEDED, CANCELLED.
  absl::Status WaitForAppends(const CallContext& context) const;

  // Runs `fn` while nothing is written to this shard. Errors as WriteQueue::Exclusive.
  absl::Status WhileQuiet(absl::FunctionRef<absl::Status()> fn, const CallContext& context) {
    return queue_.Exclusive(fn, context.deadline);
  }

  const storage::ShardLog& log() const { return *log_; }
  int number() const { return options_.number; }
  ShardStats Stats() const;
  int64_t LiveDocuments() const;
  // Calls that wait for their turn to write.
  int WaitingCalls() const { return queue_.Waiting(); }

  // Whether Maintain has something to do.
  bool MaintenanceDue() const;
  // One drain or one merge, and the manifest when it is due. True when there was work. One call at
  // a time. Blocks for as long as a build takes; writers wait for a pointer swap only. An error
  // leaves everything as it was; call again later.
  absl::StatusOr<bool> Maintain();

  // Refuses writes with `why`, wakes WaitApplied with it, and waits for the writes under way and
  // for what Maintain does to the log.
  void Close(absl::Status why);
  void Reopen();

 private:
  struct Plan;

  Shard(const ShardOptions& options, std::unique_ptr<storage::ShardLog> log,
        EngineMetrics* metrics);

  // shard_load.cc
  absl::Status LoadIndex();

  // shard_commit.cc: the part of a group commit that runs on the leader's thread.
  void Commit(WriteQueue::Batches batches);
  absl::Status PlanBatch(absl::Span<ShardWrite> batch, Plan* plan) const;
  void SetApplied(uint64_t sequence);

  // The one place where a change reaches the index, live or replayed. A change that was applied
  // before does nothing. vector: empty when the version is not live any more.
  void Apply(const storage::Change& change, std::span<const float> vector)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  bool LogIsLong() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  // What to build from next, and whether that is a drain or a merge.
  std::optional<index::FrozenRows> FreezeWork(bool* drain);
  // Makes one segment of the rows and puts it in their place.
  absl::Status Rebuild(index::FrozenRows rows);
  // Lets the next start read from the change log only what is not in segments now, when that saves
  // much.
  absl::Status SaveManifest();
  // Waits until `reached`, which is called with applied_mu_ held and without, or until `give_up`
  // returns an error, which is called with it.
  absl::Status WaitUntil(uint64_t sequence, absl::FunctionRef<bool()> reached,
                         absl::FunctionRef<absl::Status()> give_up,
                         const CallContext& context) const;
  void WakeWaiters() const;

  const ShardOptions options_;
  const std::unique_ptr<storage::ShardLog> log_;
  EngineMetrics* const metrics_;
  std::function<void()> maintenance_due_;
  std::atomic<uint64_t> saved_through_{0};  // the manifest's drained_through

  mutable absl::Mutex index_mu_;  // for writing to the index; searches take no lock
  index::ShardIndex index_;       // Pin is called without index_mu_, all else with it

  std::atomic<uint64_t> appending_{0};  // highest sequence handed to Append
  std::atomic<uint64_t> applied_{0};    // highest sequence in the index
  mutable absl::Mutex applied_mu_;      // for waiting on the two
  mutable absl::CondVar applied_changed_;
  absl::Status closed_ ABSL_GUARDED_BY(applied_mu_);  // not OK: set by Close

  WriteQueue queue_;  // last: its commits use everything above
};

}  // namespace vecino::engine
