// The calls that wait for a write they have a token of.
#pragma once

#include <stop_token>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace vecino::engine {

// A token may be from the future, or from another collection: a call that sets no deadline must not
// keep its thread for ever.
inline constexpr absl::Duration kMaxTokenWait = absl::Seconds(30);

// Calls of the whole engine that may wait at once. Each keeps a thread, of the 32 workers that a
// server has by default: a quarter of them, so that tokens out of reach never stop other calls. A
// write is applied before its caller has the token, so calls that use tokens as meant hardly ever
// wait.
inline constexpr int kMaxTokenWaiters = 8;

// Thread safety: all methods are safe from any thread; none blocks.
class TokenWaits {
 public:
  // A place among those that wait, given back when it goes.
  class Place {
   public:
    explicit Place(TokenWaits* waits) : waits_(waits) {}
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // RESOURCE_EXHAUSTED when kMaxTokenWaiters calls wait already, UNAVAILABLE after Stop. Does
    // nothing when the place was taken before.
    absl::Status Take();

   private:
    TokenWaits* const waits_;
    bool taken_ = false;
  };

  // Requested by Stop; who waits must give up then, with StoppedError.
  std::stop_token stop() const { return stop_.get_token(); }
  static absl::Status StoppedError();

  // No call waits from now on. Idempotent.
  void Stop() { stop_.request_stop(); }

 private:
  std::stop_source stop_;
  absl::Mutex mu_;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace vecino::engine
