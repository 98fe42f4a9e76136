// White space at the ends of a text, as Unicode's White_Space has it. Thread safety: plain
// functions.
#pragma once

#include <cstddef>
#include <string_view>

#include "encoder/unicode_tables.h"

namespace vecino::encoder {

inline bool IsWhite(char32_t code) { return CharProperties(code) & kCharWhite; }

// Bytes of the white space at the front of `text`. What is not UTF-8 is none.
size_t WhiteAtFront(std::string_view text);

// `text` less the white space at its end.
std::string_view WithoutWhiteAtEnd(std::string_view text);

}  // namespace vecino::encoder
