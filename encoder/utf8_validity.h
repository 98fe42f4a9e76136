// UTF-8 validity, as the Unicode standard defines it (chapter 3, table 3-7).
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace vecino::encoder {

// The offset of the first byte that does not start or continue a well-formed character; nothing
// when all of `text` is UTF-8. Overlong forms, surrogates and values above U+10FFFF are ill-formed.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

}  // namespace vecino::encoder
