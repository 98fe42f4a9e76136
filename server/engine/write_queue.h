// Group commit: writes that wait together are committed together.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/engine/shard_marks.h"
#include "server/engine/types.h"
#include "server/fields/row.h"
#include "storage/shard_log.h"

namespace vecino::engine {

// One write on its way into a shard, and what became of it.
struct ShardWrite {
  storage::Mutation::Kind kind = storage::Mutation::Kind::kPut;
  storage::Document document;  // kDelete: only the id counts. Emptied by a commit that succeeds.
  fields::Row fields;          // kPut: of document.metadata. Emptied by the commit.
  WriteMode mode = WriteMode::kUpsert;  // kPut
  std::string etag;                     // not empty: ABORTED unless it is the current version's
  int64_t ttl_us = 0;                   // kPut: above 0 sets the document's expire time
  bool expired = false;  // kDelete: of a version that has expired, which `etag` names
  // Made before on the collection's other side, and so done whatever is here: times are those of
  // the document, and a delete of what is not here is no failure.
  bool carried = false;
  WriteResult result;

  // Of an item of a stream: its stream and its number, which grows from write to write. Null: of
  // none.
  const StreamPlace* stream = nullptr;
  uint64_t item = 0;
  bool refused = false;    // nothing is to be written: `result` says why, and the mark is to know
  bool committed = false;  // set by the commit: `result` is final. Otherwise nothing was written as
                           // far as is known, `result` says why, and `document` is as it was
};

// The writes of several callers take turns by themselves: the caller in front becomes the leader,
// takes what has queued up meanwhile, commits all of it with one sync to disk, and wakes the
// others.
//
// Invariants:
//  Q1. At most one commit or exclusive call runs at a time.
//  Q2. What was handed to a commit is waited for, whatever the deadline; what was not can be
//  refused. Q3. First come, first served: nothing overtakes what queued before it.
//
// Thread safety: all methods are safe from any thread, except that Refuse is for the commit itself.
class WriteQueue {
 public:
  using Batches = absl::Span<const absl::Span<ShardWrite>>;
  // Sets the result of every write. Runs on the thread of one of the callers, with no lock held.
  using CommitFn = std::function<void(Batches)>;

  // max_writes: a leader stops taking when it has this many.
  WriteQueue(size_t max_writes, CommitFn commit);

  // Blocks until the writes were committed. An error means that they were not handed to a commit:
  // DEADLINE_EXCEEDED, or why the queue was closed.
  absl::Status Run(absl::Span<ShardWrite> writes, absl::Time deadline);

  // Runs `fn` while no commit runs, and returns what it returns, or an error as Run does.
  absl::Status Exclusive(absl::FunctionRef<absl::Status()> fn, absl::Time deadline);

  // Refuses what waits and what comes with `why`, and blocks until nothing runs. Idempotent.
  void Close(absl::Status why);
  // Takes writes again, unless Refuse was called.
  void Reopen();

  // Called by a commit: from now on everything is refused with `why`, for good.
  void Refuse(absl::Status why);

  // Calls that wait for their turn.
  int Waiting() const;

 private:
  struct Waiter {
    absl::Span<ShardWrite> writes;
    bool exclusive = false;  // runs alone; `writes` is unused
    enum { kQueued, kTaken, kDone } state = kQueued;
    absl::Status status;
    absl::CondVar wake;
  };

  // Waits until `self` is done or may run. True when it may run: it is in front and nothing runs.
  bool WaitForTurn(Waiter* self, absl::Time deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FailQueued(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WakeFront() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t max_writes_;
  const CommitFn commit_;

  mutable absl::Mutex mu_;
  absl::CondVar idle_;  // signalled when `running_` becomes false
  std::deque<Waiter*> queue_ ABSL_GUARDED_BY(mu_);
  bool running_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status closed_ ABSL_GUARDED_BY(mu_);   // not OK: set by Close
  absl::Status refused_ ABSL_GUARDED_BY(mu_);  // not OK: set by Refuse
};

}  // namespace vecino::engine
