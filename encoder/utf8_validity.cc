#include "encoder/utf8_validity.h"

#include <cstdint>
#include <cstring>

#include "encoder/utf8.h"

namespace vecino::encoder {

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

}  // namespace vecino::encoder
