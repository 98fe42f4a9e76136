// Checks of what is stored: each on a thread of its own, read by one caller.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/collection.h"
#include "server/engine/snapshots.h"
#include "storage/integrity.h"
#include "storage/snapshot_folder.h"
#include "storage/store.h"

namespace vecino::engine {

// What is to be checked, in this order.
struct IntegrityPlan {
  storage::Store* store = nullptr;                  // outlives the check
  const storage::SnapshotFolder* folder = nullptr;  // null: none; outlives the check
  bool files = false;                               // of the whole store
  std::vector<std::shared_ptr<Collection>> collections;
  std::vector<std::string> snapshots;
};

// One check and its thread. Thread safety: all methods are safe from any thread; Next by one at a
// time.
class IntegrityRun {
 public:
  // Findings that wait for the caller; beyond them the check waits for it.
  static constexpr size_t kMaxWaiting = 256;

  explicit IntegrityRun(IntegrityPlan plan);
  ~IntegrityRun() { Halt(); }
  IntegrityRun(const IntegrityRun&) = delete;
  IntegrityRun& operator=(const IntegrityRun&) = delete;

  // As IntegrityCheck has them.
  bool WakeWhenReady(const std::function<void()>& wake);
  absl::StatusOr<std::optional<IntegrityReport>> Next();

  // Has it end at its next step. Does not block.
  void AskToStop();
  // The same, and `wake` is not called any more: nobody reads it.
  void Abandon();
  // Asks it to stop, and waits until it has.
  void Halt();
  // The work has ended, and `wake` was called for the last time: whoever lets go of it now waits
  // for nothing.
  bool over() const;

 private:
  void Work(std::stop_token stop);
  // Has findings and progress of a collection (empty: of none) come here.
  storage::IntegritySink SinkOf(const std::string& collection, std::stop_token stop);
  absl::Status CheckAll(std::stop_token stop);
  absl::Status CheckCollection(Collection& collection, std::stop_token stop);
  absl::Status CheckSnapshot(const std::string& id, std::stop_token stop);
  void Begin(std::string stage);
  // Blocks while kMaxWaiting wait, but not forever: then the next Progress ends the check.
  void Found(IntegrityReport::Finding finding, std::stop_token stop);
  absl::Status Progress(uint64_t rows, uint64_t bytes, std::stop_token stop);
  // Has the caller woken, by a thread of ordinary priority: who wakes takes the locks of whoever
  // waits, and may not lose its processor over that.
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DeliverWakes();

  IntegrityPlan plan_;  // of the thread; emptied at the end, so that no collection is held
  mutable absl::Mutex mu_;
  absl::CondVar changed_;
  std::deque<IntegrityReport::Finding> waiting_ ABSL_GUARDED_BY(mu_);
  IntegrityReport so_far_ ABSL_GUARDED_BY(mu_);
  absl::Time next_report_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  bool due_ ABSL_GUARDED_BY(mu_) = true;  // a report without a finding
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stalled_ ABSL_GUARDED_BY(mu_) = false;   // nobody takes what waits
  bool ended_ ABSL_GUARDED_BY(mu_) = false;     // the work is over
  bool reported_ ABSL_GUARDED_BY(mu_) = false;  // the caller had the last report
  absl::Status status_ ABSL_GUARDED_BY(mu_);    // that it ended with
  std::function<void()> wake_ ABSL_GUARDED_BY(mu_);
  bool wake_due_ ABSL_GUARDED_BY(mu_) = false;
  bool delivered_ ABSL_GUARDED_BY(mu_) = false;  // no thread of it calls anybody any more
  std::thread waker_;
  std::jthread thread_;  // last: they use everything above
};

// The checks that run, and how to stop them. Thread safety: all methods are safe from any thread.
class IntegrityRuns {
 public:
  // RESOURCE_EXHAUSTED when Snapshots::kMaxChecks run, also such as were given up a moment ago;
  // UNAVAILABLE once stopped. Does not block.
  absl::StatusOr<std::unique_ptr<IntegrityCheck>> Start(IntegrityPlan plan);
  // Has them end soon, and lets none begin. Does not block.
  void AskToStop();
  // The same, and waits until nothing of the engine is used any more.
  void Stop();

 private:
  absl::Mutex mu_;
  std::vector<std::shared_ptr<IntegrityRun>> runs_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace vecino::engine
