#include "encoder/utf8.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vecino::encoder {

DecodedChar DecodeUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  // The range of the second byte is what rules out overlong forms, surrogates and values too large.
  size_t length = 0;
  uint8_t low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {};
  }
  char32_t code = lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size() || byte(i) < low || byte(i) > high) {
      return {kReplacementCharacter, static_cast<int>(i), false};
    }
    code = code << 6 | (byte(i) & 0x3F);
    low = 0x80, high = 0xBF;
  }
  return {code, static_cast<int>(length), true};
}

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight = 0;
    if (text.size() - at >= sizeof(eight)) {  // most text is ASCII: eight bytes at a time
      std::memcpy(&eight, text.data() + at, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        at += sizeof(eight);
        continue;
      }
    }
    const DecodedChar character = DecodeUtf8(text.substr(at));
    if (!character.well_formed) return at;
    at += static_cast<size_t>(character.length);
  }
  return std::nullopt;
}

std::string RepairUtf8(std::string_view text) {
  std::string repaired;
  repaired.reserve(text.size() + text.size() / 2);
  char replacement[4];
  const std::string_view bad(replacement, WriteUtf8(kReplacementCharacter, replacement));
  while (!text.empty()) {
    const DecodedChar c = DecodeUtf8(text);
    repaired.append(c.well_formed ? text.substr(0, c.length) : bad);
    text.remove_prefix(c.length);
  }
  return repaired;
}

int WriteUtf8(char32_t code, char* out) {
  if (code < 0x80) {
    out[0] = static_cast<char>(code);
    return 1;
  }
  const int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (int i = length - 1; i > 0; --i) {
    out[i] = static_cast<char>(0x80 | (code & 0x3F));
    code >>= 6;
  }
  out[0] = static_cast<char>((0xF00 >> length & 0xFF) | code);
  return length;
}

}  // namespace vecino::encoder
