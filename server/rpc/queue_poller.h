// The threads that take events from one completion queue.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace vecino::rpc {

// One thread takes events and may run a short call itself: handing a call to a worker and its end
// back costs two wake-ups, 60 to 200 us of CPU on the machines we measured, as much as the search
// that the call is for. So that a call which turns out to be long does not hold up its queue, a
// guard looks every few milliseconds and takes events meanwhile; it runs no calls.
//
// Thread safety: Begin and End on the poller's own thread, all else from any thread.
class QueuePoller {
 public:
  using Handle = std::function<void(void* tag, bool ok)>;

  // Starts both threads. `handle` is called for every event, by one of the two, at times by both at
  // once. The queue must live until the poller is destroyed.
  QueuePoller(grpc::CompletionQueue* queue, Handle handle);
  // Blocks until the queue was shut down and emptied.
  ~QueuePoller();
  QueuePoller(const QueuePoller&) = delete;
  QueuePoller& operator=(const QueuePoller&) = delete;

  // The poller whose own thread this is; null on any other thread, the guards among them.
  static QueuePoller* Current();

  // Around a call that is run on this thread; at most one at a time.
  void Begin();
  void End() { runs_.fetch_add(1); }

  // Blocks until no call is run.
  void WaitForRun() const;

 private:
  void Poll();
  void Guard();
  // Takes events while the poller is in the same run.
  void StandIn(uint64_t run);

  grpc::CompletionQueue* const queue_;
  const Handle handle_;
  std::atomic<uint64_t> runs_{0};  // begun and ended: odd while one is under way

  absl::Mutex mutex_;
  absl::CondVar wake_;
  std::atomic<bool> asleep_{true};  // the guard waits for a run
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread poller_, guard_;
};

}  // namespace vecino::rpc
