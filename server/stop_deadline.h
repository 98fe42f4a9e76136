// The last resort of a stop: work that never ends must not keep the process.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace vecino {

// A stop waits for threads: those of calls, of maintenance, of the store. Each is told to end and
// does; but one that hangs in a system call or a library cannot be ended, and nobody may wait for
// it for ever. What was answered is durable, so ending the process loses nothing.
//
// Thread safety: all methods are safe from any thread.
class StopDeadline {
 public:
  // Calls `end` in a thread of its own, once, when Begin was called and its time is over.
  explicit StopDeadline(std::function<void()> end);
  // From here on `end` is not called; waits for it where it runs.
  ~StopDeadline();
  StopDeadline(const StopDeadline&) = delete;
  StopDeadline& operator=(const StopDeadline&) = delete;

  // The stop is to be over `after` from now. Called again it can only shorten that.
  void Begin(absl::Duration after);

 private:
  void Run();

  const std::function<void()> end_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  absl::Time deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace vecino
