#include "server/rpc/queue_poller.h"

#include <chrono>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace vecino::rpc {
namespace {

// A queue is held up for two of these at most.
constexpr absl::Duration kTick = absl::Milliseconds(4);
// Ticks without a run before the guard goes to sleep.
constexpr int kIdleTicks = 25;

thread_local QueuePoller* current = nullptr;

}  // namespace

QueuePoller::QueuePoller(grpc::CompletionQueue* queue, Handle handle)
    : queue_(queue), handle_(std::move(handle)) {
  poller_ = std::thread([this] { Poll(); });
  guard_ = std::thread([this] { Guard(); });
}

QueuePoller::~QueuePoller() {
  poller_.join();
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.Signal();
  }
  guard_.join();
}

QueuePoller* QueuePoller::Current() { return current; }

void QueuePoller::Begin() {
  runs_.fetch_add(1);
  if (asleep_.load() && asleep_.exchange(false)) {
    absl::MutexLock lock(&mutex_);
    wake_.Signal();
  }
}

void QueuePoller::WaitForRun() const {
  while (runs_.load() % 2 != 0) absl::SleepFor(absl::Milliseconds(1));
}

void QueuePoller::Poll() {
  current = this;
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) handle_(tag, ok);
}

void QueuePoller::Guard() {
  uint64_t seen = runs_.load();
  int idle = 0;
  mutex_.Lock();
  while (!stopping_) {
    if (idle >= kIdleTicks) {
      asleep_.store(true);
      // A run that began before that did not see it.
      if (runs_.load() == seen) {
        while (asleep_.load() && !stopping_) wake_.Wait(&mutex_);
      }
      asleep_.store(false);
      idle = 0;
      continue;
    }
    wake_.WaitWithTimeout(&mutex_, kTick);
    const uint64_t now = runs_.load();
    if (now != seen) {
      seen = now;
      idle = 0;
    } else if (now % 2 == 0) {
      ++idle;
    } else {
      mutex_.Unlock();
      StandIn(now);
      mutex_.Lock();
    }
  }
  mutex_.Unlock();
}

void QueuePoller::StandIn(uint64_t run) {
  while (runs_.load() == run) {
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
    }
    void* tag = nullptr;
    bool ok = false;
    const auto deadline = std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kTick);
    switch (queue_->AsyncNext(&tag, &ok, deadline)) {
      case grpc::CompletionQueue::GOT_EVENT:
        handle_(tag, ok);
        break;
      case grpc::CompletionQueue::SHUTDOWN:
        return;
      case grpc::CompletionQueue::TIMEOUT:
        break;
    }
  }
}

}  // namespace vecino::rpc
