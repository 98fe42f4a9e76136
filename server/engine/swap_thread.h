// A thread of ordinary priority for what is short and must not be held up.
#pragma once

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"

namespace vecino::engine {

// A maintenance thread may lose its processor at any moment, and on a busy machine gets it back
// after milliseconds. If that happens while it holds the lock that writers need, they wait as long.
// So it has this thread, which has their priority, do what needs the lock. One at a time; what is
// done here takes microseconds.
//
// Thread safety: all methods are safe from any thread, but for the destructor.
class SwapThread {
 public:
  SwapThread();
  ~SwapThread();  // no call may be under way

  // Runs `fn` on the thread. Blocks until it has run, not on anything else of this class for long.
  void Run(absl::FunctionRef<void()> fn);

 private:
  void Loop();

  absl::Mutex turn_;  // of callers; before mu_
  absl::Mutex mu_;
  absl::CondVar changed_;
  const absl::FunctionRef<void()>* work_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace vecino::engine
