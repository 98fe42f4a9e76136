// SIGTERM and SIGINT as something to wait for.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace vecino {

// Make it before any other thread, so that all of them inherit the blocked signals. One per
// process.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Blocks until the first signal; returns its number.
  int Wait();

  // What to do at each signal, with its number and how many have come; called from a thread of its
  // own (no signal handler: anything may be done). Signals that came before are told at once.
  void OnSignal(std::function<void(int signal, int count)> react);

 private:
  void Run();

  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::function<void(int, int)> react_ ABSL_GUARDED_BY(mutex_);
  int first_ ABSL_GUARDED_BY(mutex_) = 0;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace vecino
