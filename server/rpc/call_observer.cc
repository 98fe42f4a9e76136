#include "server/rpc/call_observer.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace vecino::rpc {
namespace {

constexpr std::string_view kCodeNames[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

bool IsServersFault(grpc::StatusCode code) {
  return code == grpc::StatusCode::INTERNAL || code == grpc::StatusCode::UNKNOWN ||
         code == grpc::StatusCode::DATA_LOSS || code == grpc::StatusCode::UNAVAILABLE ||
         code == grpc::StatusCode::RESOURCE_EXHAUSTED ||
         code == grpc::StatusCode::DEADLINE_EXCEEDED;
}

}  // namespace

std::string_view CodeName(grpc::StatusCode code) {
  if (code < 0 || static_cast<size_t>(code) >= std::size(kCodeNames)) return "UNKNOWN";
  return kCodeNames[code];
}

bool WarningLimit::Allow(absl::Time now, int* suppressed) {
  const int64_t second = absl::ToUnixSeconds(now);
  absl::MutexLock lock(&mutex_);
  if (second != second_) {
    second_ = second;
    written_ = 0;
  }
  if (written_ >= per_second_) {
    ++suppressed_;
    return false;
  }
  ++written_;
  *suppressed = std::exchange(suppressed_, 0);
  return true;
}

MethodObserver::MethodObserver(std::string path, Metrics* metrics, absl::Duration slow,
                               WarningLimit* limit)
    : path_(std::move(path)),
      metrics_(*metrics),
      slow_(slow),
      limit_(*limit),
      latency_(metrics->latency("vecino_rpc_duration_seconds",
                                "Time from the request's arrival to its reply, by method.",
                                {{"method", path_}})) {}

void MethodObserver::Finished(const grpc::Status& status, absl::Duration elapsed,
                              const std::function<std::string()>& peer) {
  const grpc::StatusCode code = status.error_code();
  const int index = code >= 0 && code < kCodes ? code : grpc::StatusCode::UNKNOWN;
  Counter* counter = counters_[index].load(std::memory_order_acquire);
  if (counter == nullptr) {
    counter = &metrics_.counter("vecino_rpc_calls_total", "Calls, by method and status code.",
                                {{"method", path_}, {"code", std::string(CodeName(code))}});
    counters_[index].store(counter, std::memory_order_release);
  }
  counter->Add(1);
  latency_.Observe(absl::ToDoubleSeconds(elapsed));

  const bool slow = slow_ > absl::ZeroDuration() && elapsed > slow_;
  const double millis = absl::ToDoubleMilliseconds(elapsed);
  int suppressed = 0;
  if ((slow || IsServersFault(code)) && limit_.Allow(absl::Now(), &suppressed)) {
    spdlog::warn("{} method={} code={} ms={:.1f} peer={} suppressed={} message=\"{}\"",
                 slow ? "slow call" : "call failed", path_, CodeName(code), millis, peer(),
                 suppressed, status.error_message());
  } else if (spdlog::should_log(spdlog::level::debug)) {
    spdlog::debug("call method={} code={} ms={:.1f} peer={} message=\"{}\"", path_, CodeName(code),
                  millis, peer(), status.error_message());
  }
}

}  // namespace vecino::rpc
