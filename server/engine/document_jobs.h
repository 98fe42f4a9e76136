// Changes to all documents that a filter lets pass, and tunings, one operation after another.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/collection.h"
#include "server/engine/operation.h"
#include "server/engine/tuning.h"

namespace vecino::engine {

// A thread of low priority that does what is handed in, in order. Thread safety: all methods are
// safe from any thread.
class DocumentJobs {
 public:
  static constexpr size_t kMaxWaiting = 64;

  struct Job {
    std::shared_ptr<Collection> collection;
    std::shared_ptr<Operation> operation;  // over every shard of it
    std::string filter;
    PatchFn patch;                 // null: documents are deleted
    std::optional<Tuning> tuning;  // it is done in place of a change
  };

  // what: is done, in the plural, for messages.
  explicit DocumentJobs(std::string what = "changes by filter");
  ~DocumentJobs();

  // Does not block. RESOURCE_EXHAUSTED when kMaxWaiting wait, UNAVAILABLE after Stop.
  absl::Status Add(Job job);
  // The same for an operation that was just made, or not; it ends where that is refused.
  absl::StatusOr<Operation::Info> Start(absl::StatusOr<std::shared_ptr<Operation>> operation,
                                        Job job);

  // Ends what runs at its next batch and what waits, with CutShortByStop. Idempotent. Blocks until
  // then.
  void Stop();

 private:
  void Work(std::stop_token stop);

  const std::string what_;
  absl::Mutex mu_;
  absl::CondVar changed_;
  std::deque<Job> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace vecino::engine
