// Tells ThreadSanitizer about absl::Mutex and absl::Status. Debian's libabsl is not instrumented,
// so TSan would see no order between critical sections and report every guarded variable. The
// linker's --wrap sends our own calls through here; calls inside libabsl and gRPC stay as they are
// (TSan does not see their memory either).
#include <sanitizer/tsan_interface.h>

#include <cstdint>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

using absl::CondVar;
using absl::Mutex;

// Symbol names of Debian 12's absl (inline namespace debian3).
#define MUTEX(name) _ZN4absl7debian35Mutex##name
#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)
#define REAL(name) CAT(__real_, MUTEX(name))
#define WRAP(name) CAT(__wrap_, MUTEX(name))

extern "C" {

void REAL(4LockEv)(Mutex*);
void WRAP(4LockEv)(Mutex* mu) {
  __tsan_mutex_pre_lock(mu, 0);
  REAL(4LockEv)(mu);
  __tsan_mutex_post_lock(mu, 0, 0);
}

void REAL(6UnlockEv)(Mutex*);
void WRAP(6UnlockEv)(Mutex* mu) {
  __tsan_mutex_pre_unlock(mu, 0);
  REAL(6UnlockEv)(mu);
  __tsan_mutex_post_unlock(mu, 0);
}

bool REAL(7TryLockEv)(Mutex*);
bool WRAP(7TryLockEv)(Mutex* mu) {
  __tsan_mutex_pre_lock(mu, __tsan_mutex_try_lock);
  const bool locked = REAL(7TryLockEv)(mu);
  __tsan_mutex_post_lock(mu, __tsan_mutex_try_lock | (locked ? 0 : __tsan_mutex_try_lock_failed),
                         0);
  return locked;
}

void REAL(10ReaderLockEv)(Mutex*);
void WRAP(10ReaderLockEv)(Mutex* mu) {
  __tsan_mutex_pre_lock(mu, __tsan_mutex_read_lock);
  REAL(10ReaderLockEv)(mu);
  __tsan_mutex_post_lock(mu, __tsan_mutex_read_lock, 0);
}

void REAL(12ReaderUnlockEv)(Mutex*);
void WRAP(12ReaderUnlockEv)(Mutex* mu) {
  __tsan_mutex_pre_unlock(mu, __tsan_mutex_read_lock);
  REAL(12ReaderUnlockEv)(mu);
  __tsan_mutex_post_unlock(mu, __tsan_mutex_read_lock);
}

void __real__ZN4absl7debian35MutexD1Ev(Mutex*);
void __wrap__ZN4absl7debian35MutexD1Ev(Mutex* mu) {
  __tsan_mutex_destroy(mu, 0);
  __real__ZN4absl7debian35MutexD1Ev(mu);
}

// Waiting gives the lock up and takes it again.
#define WAIT_BEGIN(mu)             \
  __tsan_mutex_pre_unlock(mu, 0);  \
  __tsan_mutex_post_unlock(mu, 0); \
  __tsan_mutex_pre_lock(mu, 0)
#define WAIT_END(mu) __tsan_mutex_post_lock(mu, 0, 0)

void __real__ZN4absl7debian37CondVar4WaitEPNS0_5MutexE(CondVar*, Mutex*);
void __wrap__ZN4absl7debian37CondVar4WaitEPNS0_5MutexE(CondVar* cv, Mutex* mu) {
  WAIT_BEGIN(mu);
  __real__ZN4absl7debian37CondVar4WaitEPNS0_5MutexE(cv, mu);
  WAIT_END(mu);
}

bool __real__ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE(CondVar*, Mutex*,
                                                                                 absl::Duration);
bool __wrap__ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE(
    CondVar* cv, Mutex* mu, absl::Duration timeout) {
  WAIT_BEGIN(mu);
  const bool timed_out =
      __real__ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE(cv, mu, timeout);
  WAIT_END(mu);
  return timed_out;
}

bool __real__ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE(CondVar*, Mutex*,
                                                                              absl::Time);
bool __wrap__ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE(CondVar* cv,
                                                                              Mutex* mu,
                                                                              absl::Time deadline) {
  WAIT_BEGIN(mu);
  const bool timed_out =
      __real__ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE(cv, mu, deadline);
  WAIT_END(mu);
  return timed_out;
}

// The count of references to a status goes up in our code (inline) and down in libabsl: without
// this, whoever frees the status would race with everyone who copied it.
void __real__ZN4absl7debian36Status15UnrefNonInlinedEm(uintptr_t rep);
void __wrap__ZN4absl7debian36Status15UnrefNonInlinedEm(uintptr_t rep) {
  void* const count = reinterpret_cast<void*>(rep - 1);  // Status::RepToPointer
  __tsan_release(count);
  __tsan_acquire(count);
  __real__ZN4absl7debian36Status15UnrefNonInlinedEm(rep);
}

}  // extern "C"
