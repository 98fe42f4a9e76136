#include "server/rpc/worker_pool.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <limits>
#include <utility>

namespace vecino::rpc {

WorkerPool::WorkerPool(int threads, int capacity, int nice)
    : thread_count_(threads), capacity_(capacity), nice_(nice) {
  absl::MutexLock lock(&mutex_);
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

WorkerPool::~WorkerPool() { Shutdown(); }

bool WorkerPool::TrySubmit(Task task) {
  return Add(std::move(task), static_cast<size_t>(capacity_));
}

bool WorkerPool::TryContinue(Task task) {
  return Add(std::move(task), std::numeric_limits<size_t>::max());
}

bool WorkerPool::Add(Task task, size_t capacity) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || queue_.size() >= capacity) return false;
    queue_.push_back(std::move(task));
  }
  wake_.Signal();
  return true;
}

void WorkerPool::Shutdown() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  wake_.SignalAll();
  for (std::thread& thread : threads) thread.join();
}

int WorkerPool::queued() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(queue_.size());
}

void WorkerPool::Run() {
  if (nice_ != 0) {
    // Cannot fail for want of rights: they are only needed for the way back.
    const auto thread = static_cast<id_t>(syscall(SYS_gettid));
    setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + nice_);
  }
  while (true) {
    Task task;
    {
      absl::MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace vecino::rpc
