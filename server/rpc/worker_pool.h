// The threads that run calls, with a bounded queue before them.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace vecino::rpc {

// Runs tasks in the order they came. Thread safety: all methods are safe from any thread; only
// Shutdown blocks for long.
class WorkerPool {
 public:
  using Task = std::function<void()>;

  // `threads` ≥ 1 threads start at once; at most `capacity` ≥ 1 tasks wait. nice: 0 to 19, by how
  // much the threads yield to those of other pools (Linux's nice value, on top of the process's).
  WorkerPool(int threads, int capacity, int nice = 0);
  // Shuts down.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False, and `task` is dropped, when the queue is full or the pool was shut down. Never waits.
  [[nodiscard]] bool TrySubmit(Task task);
  // The same for the next step of a call that was taken before: also beyond the capacity, because
  // turning it away would lose what was done for it. Such calls are bounded by what let them in.
  [[nodiscard]] bool TryContinue(Task task);

  // Refuses new tasks, runs those that wait, and joins the threads. Idempotent.
  void Shutdown();

  int queued() const;
  int capacity() const { return capacity_; }
  int threads() const { return thread_count_; }

 private:
  bool Add(Task task, size_t capacity);
  void Run();

  const int thread_count_;
  const int capacity_;
  const int nice_;
  mutable absl::Mutex mutex_;
  absl::CondVar wake_;
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vecino::rpc
