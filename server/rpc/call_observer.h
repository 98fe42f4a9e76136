// What happened to calls: counted, timed and logged.
#pragma once

#include <grpcpp/support/status.h>

#include <array>
#include <atomic>
#include <functional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/metrics.h"

namespace vecino::rpc {

// Limits how many warnings the calls of one second may write, so that callers cannot fill the disk
// with them. Thread safe.
class WarningLimit {
 public:
  explicit WarningLimit(int per_second) : per_second_(per_second) {}
  // Whether to write a line now; `*suppressed` is how many were not written since the last one.
  bool Allow(absl::Time now, int* suppressed);

 private:
  const int per_second_;
  absl::Mutex mutex_;
  int64_t second_ ABSL_GUARDED_BY(mutex_) = -1;
  int written_ ABSL_GUARDED_BY(mutex_) = 0;
  int suppressed_ ABSL_GUARDED_BY(mutex_) = 0;
};

// The counters of one method. Thread safe.
class MethodObserver {
 public:
  // `metrics` and `limit` must outlive it. Calls that take longer than `slow` are warned of; zero:
  // none.
  MethodObserver(std::string path, Metrics* metrics, absl::Duration slow, WarningLimit* limit);

  // One call is over. `peer` is asked only when a line is written. Lines: warnings for the server's
  // own faults (INTERNAL, UNKNOWN, DATA_LOSS, UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED)
  // and for slow calls; everything else at debug, because what a caller did wrong is in the
  // caller's hands.
  void Finished(const grpc::Status& status, absl::Duration elapsed,
                const std::function<std::string()>& peer);

 private:
  static constexpr int kCodes = grpc::StatusCode::UNAUTHENTICATED + 1;

  const std::string path_;
  Metrics& metrics_;
  const absl::Duration slow_;
  WarningLimit& limit_;
  Histogram& latency_;
  std::array<std::atomic<Counter*>, kCodes> counters_{};  // made on first use
};

// Such as "INVALID_ARGUMENT".
std::string_view CodeName(grpc::StatusCode code);

}  // namespace vecino::rpc
