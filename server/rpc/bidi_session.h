// What one call that streams both ways is to the server: messages in, work, messages out.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <memory>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/types.h"

namespace vecino::rpc {

// The call as its session sees it. Each method begins something and returns at once; what it began
// is told to the session, never from inside the method. Thread safety: the session's lock.
class BidiPort {
 public:
  // → OnRead. One at a time.
  virtual void Read() = 0;
  // → OnWritten. One at a time.
  virtual void Write(const grpc::ByteBuffer& message) = 0;
  // → OnWake, when the time has come. One at a time.
  virtual void WakeAt(absl::Time time) = 0;
  // Has a worker run it. False when there are none any more.
  [[nodiscard]] virtual bool Run(std::function<void()> work) = 0;
  // Ends the call; not while a Write is under way. Nothing else may be called after it, and nothing
  // is told.
  virtual void Finish(const absl::Status& status) = 0;
  // Deadline, and whether the caller is still there. Until Finish.
  virtual engine::CallContext context() const = 0;

 protected:
  ~BidiPort() = default;
};

// Messages are read only while the session has room for them, so HTTP/2's flow control holds a
// caller that is faster than the server; and written one at a time, so a caller that does not read
// fills the session's room and is then not read from. Between messages a session takes no thread.
//
// It ends when the caller has half-closed and everything is answered, when work calls Fail, when
// the caller has gone, or, once GoAway was called, when what was read is answered. Work that runs
// is always waited for.
//
// A subclass holds what came and what is to be said. Its hooks are called with `mu_` held and must
// not block; what blocks goes into Run, and takes mu_ for its results.
//
// Thread safety: the public methods are safe from any thread; none blocks for long.
class BidiSession : public std::enable_shared_from_this<BidiSession> {
 public:
  virtual ~BidiSession() = default;

  // Begins. `port` must live until it was told to Finish.
  void Open(BidiPort* port) ABSL_LOCKS_EXCLUDED(mu_);

  // ok false: the caller sends nothing more, or has gone.
  void OnRead(bool ok, grpc::ByteBuffer message) ABSL_LOCKS_EXCLUDED(mu_);
  void OnWritten(bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  void OnWake() ABSL_LOCKS_EXCLUDED(mu_);
  // The caller has gone, or its deadline has passed.
  void OnCancelled() ABSL_LOCKS_EXCLUDED(mu_);

  // The server is about to stop: reads nothing more, answers what was read, and ends with
  // UNAVAILABLE, or OK when the caller had sent all it wanted. Idempotent.
  void GoAway() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether nothing but a caller that has not read for `patience` keeps it from its end.
  bool StuckFor(absl::Duration patience) const ABSL_LOCKS_EXCLUDED(mu_);

 protected:
  // Whether another message may be read.
  virtual bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) = 0;
  // A message came.
  virtual void Take(grpc::ByteBuffer message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) = 0;
  // Calls Run for what can be begun. Called after everything that happens.
  virtual void Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) = 0;
  // Whether anything that came is not done with, other than by answers that wait to be written.
  virtual bool Busy() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) = 0;
  // Writes what there is to say into *message; false when there is nothing. Called when the message
  // before has left.
  virtual bool Answer(grpc::ByteBuffer* message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) = 0;
  // The last Answer has left.
  virtual void Answered() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {}
  // The time given to WakeAt has come.
  virtual void Woken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {}
  // No work runs, and none will: what only work needs can go.
  virtual void Settled() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {}

  // Has a worker run `work`, which takes mu_ itself. Afterwards Begin is called. Its exceptions end
  // the call.
  void Run(std::function<void()> work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Ends the call with this error once the work under way is over and answers are written; the
  // first one counts.
  void Fail(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Begins whatever can be begun, among it the end. For work, after it has changed something.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Wakes at `time` or earlier.
  void WakeAt(absl::Time time) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Whether the call ends early: nothing new is to be begun.
  bool failing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !failure_.ok() || cancelled_; }
  bool going_away() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return going_away_; }
  int running() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return running_; }
  engine::CallContext context() const { return context_; }

  mutable absl::Mutex mu_;

 private:
  void Work(const std::function<void()>& work) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status End() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  engine::CallContext context_;  // set by Open
  BidiPort* port_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time write_began_ ABSL_GUARDED_BY(mu_);
  bool waking_ ABSL_GUARDED_BY(mu_) = false;
  int running_ ABSL_GUARDED_BY(mu_) = 0;     // work given to workers and not over
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // the caller sends nothing more
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool going_away_ ABSL_GUARDED_BY(mu_) = false;
  bool settled_ ABSL_GUARDED_BY(mu_) = false;
  bool over_ ABSL_GUARDED_BY(mu_) = false;  // Finish was called
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::rpc
