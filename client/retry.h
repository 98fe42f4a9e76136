// One call over as many attempts as its deadline and the options allow.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <functional>

#include "client/vecino/client.h"

namespace vecino::internal {

// How long to wait before the attempt after number `attempt` (1 is the first): full jitter, a
// uniform draw between 0 and min(max_backoff, initial_backoff * 2^(attempt - 1)).
std::chrono::nanoseconds Backoff(const ClientOptions& options, int attempt);

// Runs `call`, a blocking unary call, until it succeeds, fails for good, runs out of attempts, or
// `options.timeout` is over; every attempt gets that one deadline. UNAVAILABLE is tried again, and
// RESOURCE_EXHAUSTED when it carries a google.rpc.RetryInfo; a RetryInfo's delay is a lower bound
// of the wait. When the next wait would pass the deadline, the error at hand is returned at once.
// Blocks. Sets *attempts, when given, to the number of attempts made.
Status CallWithRetry(const ClientOptions& options,
                     const std::function<grpc::Status(grpc::ClientContext*)>& call,
                     int* attempts = nullptr);

}  // namespace vecino::internal
