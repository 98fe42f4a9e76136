// What the HTTP API takes and returns, for programs.
#pragma once

#include <string>
#include <string_view>

namespace vecino::rpc {

// An OpenAPI 3.0.3 document of every unary RPC as HTTP has it, with the contract's comments, made
// from its descriptors at the first call and kept. `version` is the server's, the same in every
// call. Thread safe. Blocks for some milliseconds the first time.
const std::string& OpenApiDocument(std::string_view version);

}  // namespace vecino::rpc
