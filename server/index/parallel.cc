#include "server/index/parallel.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/index/give_way.h"

namespace vecino::index {
namespace {

class Run {
 public:
  Run(size_t tasks, absl::FunctionRef<absl::Status(size_t, Checkpoint)> body)
      : tasks_(tasks), body_(body) {}

  // Takes tasks until there is none left or work was stopped.
  void Work(Checkpoint checkpoint) {
    for (size_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
      absl::Status status;
      try {
        GiveWay();
        status = checkpoint();
        if (status.ok()) status = body_(task, checkpoint);
      } catch (const std::bad_alloc&) {
        status = absl::ResourceExhaustedError("no memory for a part of the index");
      }
      if (!status.ok()) return Stop(std::move(status));
    }
  }

  // The checkpoint of threads that are not the caller's.
  absl::Status Stopped() const {
    return stopped_.load(std::memory_order_relaxed) ? absl::CancelledError("another part failed")
                                                    : absl::OkStatus();
  }

  absl::Status status() const {
    absl::MutexLock lock(&mu_);
    return status_;
  }

 private:
  void Stop(absl::Status status) {
    absl::MutexLock lock(&mu_);
    if (status_.ok()) status_ = std::move(status);  // those that come later are its consequence
    stopped_.store(true, std::memory_order_relaxed);
    next_.store(tasks_, std::memory_order_relaxed);
  }

  const size_t tasks_;
  const absl::FunctionRef<absl::Status(size_t, Checkpoint)> body_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stopped_{false};
  mutable absl::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::Status ParallelFor(int threads, size_t tasks, Checkpoint checkpoint,
                         absl::FunctionRef<absl::Status(size_t task, Checkpoint checkpoint)> body) {
  Run run(tasks, body);
  std::vector<std::thread> others;
  const size_t wanted = std::min(tasks, static_cast<size_t>(std::max(threads, 1)));
  for (size_t i = 1; i < wanted; ++i) {
    try {
      others.emplace_back([&run, background = IsBackground()] {
        SetBackground(background);
        run.Work([&run] { return run.Stopped(); });
      });
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those there are do it all
    } catch (const std::bad_alloc&) {
      break;
    }
  }
  run.Work(checkpoint);
  for (std::thread& other : others) other.join();
  return run.status();
}

}  // namespace vecino::index
