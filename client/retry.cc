#include "client/retry.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "client/error_details.h"

namespace vecino::internal {

std::chrono::nanoseconds Backoff(const ClientOptions& options, int attempt) {
  using std::chrono::nanoseconds;
  const int doublings = std::clamp(attempt - 1, 0, 30);
  const nanoseconds initial = std::max(nanoseconds(options.initial_backoff), nanoseconds(0));
  const nanoseconds ceiling = std::max(nanoseconds(options.max_backoff), nanoseconds(0));
  // Compared as doubles: the shifted value may not fit 64 bits.
  const double wanted =
      static_cast<double>(initial.count()) * static_cast<double>(1LL << doublings);
  const double bound = std::min(wanted, static_cast<double>(ceiling.count()));
  thread_local std::mt19937_64 random{std::random_device{}()};
  return nanoseconds(
      static_cast<int64_t>(std::uniform_real_distribution<double>(0, bound)(random)));
}

Status CallWithRetry(const ClientOptions& options,
                     const std::function<grpc::Status(grpc::ClientContext*)>& call, int* attempts) {
  const auto deadline = std::chrono::system_clock::now() + options.timeout;
  Status previous;  // of the attempt before, when there was one
  for (int attempt = 1;; ++attempt) {
    if (attempts != nullptr) *attempts = attempt;
    grpc::ClientContext context;
    context.set_deadline(deadline);
    const grpc::Status reply = call(&context);
    if (reply.ok()) return Status();
    Status status = FromGrpc(reply);
    if (status.code() == Code::kDeadlineExceeded && !previous.ok()) {
      return Status(Code::kDeadlineExceeded,
                    status.message() + " (attempt " + std::to_string(attempt) +
                        "; the one before ended with " + previous.ToString() + ")",
                    status.field());
    }
    const std::optional<std::chrono::nanoseconds> server_delay = RetryDelay(reply);
    const bool worth_retrying =
        status.code() == Code::kUnavailable ||
        (status.code() == Code::kResourceExhausted && server_delay.has_value());
    if (!worth_retrying || attempt >= options.max_attempts) return status;
    const std::chrono::nanoseconds wait =
        server_delay.value_or(std::chrono::nanoseconds(0)) + Backoff(options, attempt);
    if (std::chrono::system_clock::now() + wait >= deadline) return status;
    std::this_thread::sleep_for(wait);
    previous = std::move(status);
  }
}

}  // namespace vecino::internal
