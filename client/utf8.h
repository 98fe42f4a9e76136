// UTF-8, as the contract's strings must be.
#pragma once

#include <string_view>

namespace vecino::internal {

// Whether `text` is well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
// gRPC drops a whole request with one bad string in it, so the client looks first.
bool IsValidUtf8(std::string_view text);

}  // namespace vecino::internal
