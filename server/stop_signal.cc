#include "server/stop_signal.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace vecino {
namespace {

// SIGUSR2 wakes the waiting thread when the object is destroyed.
sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR2}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

StopSignal::StopSignal() {
  const sigset_t signals = Signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a caller that hangs up is no reason to end
  thread_ = std::thread([this] { Run(); });
}

StopSignal::~StopSignal() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGUSR2);
  thread_.join();
}

int StopSignal::Wait() {
  absl::MutexLock lock(&mutex_);
  while (count_ == 0) changed_.Wait(&mutex_);
  return first_;
}

void StopSignal::OnSignal(std::function<void(int, int)> react) {
  absl::MutexLock lock(&mutex_);
  react_ = std::move(react);
  if (react_ && count_ > 0) react_(first_, count_);
}

void StopSignal::Run() {
  const sigset_t signals = Signals();
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    absl::MutexLock lock(&mutex_);
    if (ending_) return;
    if (signal == SIGUSR2) continue;
    if (count_++ == 0) first_ = signal;
    changed_.Signal();
    if (react_) react_(signal, count_);
  }
}

}  // namespace vecino
