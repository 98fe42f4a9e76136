// The thread that takes away documents that have expired.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace vecino::engine {

class Registry;

// Deletes what has expired in all collections. Logs when that begins to fail.
std::function<void(std::stop_token)> ReapAll(std::shared_ptr<const Registry> registry);

// Calls a function every so often until it is stopped. Nobody waits for it: documents count as gone
// from their expire time on, and what the function does is to take their room back.
//
// The thread has the usual priority, since it may lead a group commit for which others wait; the
// function is to work in small pieces.
//
// Thread safety: all methods are safe from any thread.
class ExpiryReaper {
 public:
  // reap: is to end soon once its stop token says so. Must not call back.
  ExpiryReaper(absl::Duration interval, std::function<void(std::stop_token)> reap);
  ~ExpiryReaper() { Stop(); }
  ExpiryReaper(const ExpiryReaper&) = delete;
  ExpiryReaper& operator=(const ExpiryReaper&) = delete;

  // Waits for the call under way and makes no more. Idempotent.
  void Stop();

 private:
  void Loop();

  const absl::Duration interval_;
  const std::function<void(std::stop_token)> reap_;
  std::stop_source stop_;
  absl::Mutex mu_;
  absl::CondVar stopped_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::Mutex join_mu_;
  std::thread thread_;
};

}  // namespace vecino::engine
