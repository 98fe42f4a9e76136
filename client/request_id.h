// Ids by which a server knows the attempts of one request again (AIP-155).
#pragma once

#include <string>

namespace vecino::internal {

// A new UUID of version 4, in lower case. Of the system's random numbers, so that no two processes
// make the same ones. Thread-safe.
std::string NewRequestId();

}  // namespace vecino::internal
