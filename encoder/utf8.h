// UTF-8, character by character, by the Unicode standard, table 3-7: no surrogates, nothing
// overlong, nothing above U+10FFFF. Thread safety: plain functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace vecino::encoder {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

struct DecodedChar {
  char32_t code = kReplacementCharacter;  // U+FFFD when not well formed
  int length = 1;                         // bytes taken, at least 1
  bool well_formed = false;
};

// Decodes the character at the front of `text`, which must not be empty. An ill-formed sequence
// takes its maximal subpart, as Python's decode(errors="replace") does, so that each becomes one
// U+FFFD.
DecodedChar DecodeUtf8(std::string_view text);

// The offset of the first byte that does not start or continue a well-formed character; nullopt
// when all of `text` is UTF-8.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// `text` with U+FFFD for each ill-formed sequence.
std::string RepairUtf8(std::string_view text);

// Writes a Unicode scalar value to `out`, which has room for 4 bytes; returns the bytes written.
int WriteUtf8(char32_t code, char* out);

}  // namespace vecino::encoder
