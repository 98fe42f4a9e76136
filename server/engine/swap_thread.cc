#include "server/engine/swap_thread.h"

namespace vecino::engine {

SwapThread::SwapThread() : thread_([this] { Loop(); }) {}

SwapThread::~SwapThread() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void SwapThread::Run(absl::FunctionRef<void()> fn) {
  absl::MutexLock turn(&turn_);
  absl::MutexLock lock(&mu_);
  work_ = &fn;
  changed_.SignalAll();
  while (work_ != nullptr) changed_.Wait(&mu_);
}

void SwapThread::Loop() {
  mu_.Lock();
  while (true) {
    while (work_ == nullptr && !stopping_) changed_.Wait(&mu_);
    if (work_ == nullptr) break;
    const absl::FunctionRef<void()> work = *work_;
    mu_.Unlock();
    work();
    mu_.Lock();
    work_ = nullptr;
    changed_.SignalAll();
  }
  mu_.Unlock();
}

}  // namespace vecino::engine
