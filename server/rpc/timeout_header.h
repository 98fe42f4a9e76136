// How long a caller over HTTP is ready to wait.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vecino::rpc {

inline constexpr absl::Duration kDefaultTimeout = absl::Seconds(60);
inline constexpr absl::Duration kLongestTimeout = absl::Hours(1);  // longer ones count as this

// Reads the two headers, empty where they are absent:
//   Grpc-Timeout       as gRPC has it: up to 8 digits and a unit of H, M, S, m, u or n: "1500m"
//   X-Request-Timeout  seconds: digits, perhaps with a fraction, perhaps with an `s`: "1.5s"
// Without either kDefaultTimeout. INVALID_ARGUMENT when it is not of its form, or both came.
absl::StatusOr<absl::Duration> ReadTimeout(std::string_view grpc_timeout,
                                           std::string_view request_timeout);

}  // namespace vecino::rpc
