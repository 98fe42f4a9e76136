// The messages of gRPC and protobuf, which would go to stderr in forms of their own.
#pragma once

namespace vecino::rpc {

// Sends them to spdlog's default logger at debug. Call it once, before threads exist.
void RouteLibraryLogs();

}  // namespace vecino::rpc
