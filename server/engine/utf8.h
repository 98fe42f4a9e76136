// Whether bytes are text.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace vecino::engine {

// The offset of the first byte that is not part of well-formed UTF-8 (Unicode standard, table 3-7:
// nothing overlong, no surrogates, nothing above U+10FFFF), nullopt when there is none. Thread
// safe.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

}  // namespace vecino::engine
