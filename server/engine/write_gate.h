// The door through which calls that write enter a collection, so that its embeddings can be
// switched between two writes.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/types.h"

namespace vecino::engine {

// Thread safety: all methods are safe from any thread.
class WriteGate {
 public:
  // Held for as long as a call writes. Moves.
  class Pass {
   public:
    Pass() = default;
    Pass(Pass&& other) noexcept : gate_(other.gate_) { other.gate_ = nullptr; }
    Pass& operator=(Pass&& other) noexcept;
    ~Pass() { Leave(); }

    // False: the collection's writes go to its other side now; look it up again.
    explicit operator bool() const { return gate_ != nullptr; }

   private:
    friend class WriteGate;
    explicit Pass(WriteGate* gate) : gate_(gate) {}
    void Leave();
    WriteGate* gate_ = nullptr;
  };

  // Longest that a call waits before a closed gate, besides its own deadline.
  static constexpr absl::Duration kMaxWait = absl::Seconds(15);

  // Waits while the gate is closed: UNAVAILABLE after kMaxWait, DEADLINE_EXCEEDED, CANCELLED.
  absl::StatusOr<Pass> Enter(const CallContext& context);
  // A pass that is none unless the gate is open.
  Pass TryEnter();

  // From now on callers wait; blocks until those inside have left. DEADLINE_EXCEEDED when that is
  // not so by `deadline`: then the gate is open as before.
  absl::Status Close(absl::Time deadline);
  // Waits, the gate open, until nobody is inside; whether that was so by `deadline`.
  bool WaitQuiet(absl::Time deadline);
  // Lets everybody in.
  void Open();
  // Sends everybody elsewhere.
  void Move();

 private:
  enum class State { kOpen, kClosed, kMoved };
  void Set(State state);

  absl::Mutex mu_;
  absl::CondVar changed_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kOpen;
  int inside_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace vecino::engine
