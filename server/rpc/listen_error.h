// Why a port cannot be listened on, which gRPC does not say.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace vecino::rpc {

// Tries to listen on `address` (HOST:PORT) itself and reports the system's reason as
// FAILED_PRECONDITION, in plain words with what to do. Blocks while it resolves the host.
absl::Status WhyNotListening(const std::string& address);

}  // namespace vecino::rpc
