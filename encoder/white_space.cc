#include "encoder/white_space.h"

#include "encoder/utf8.h"

namespace vecino::encoder {

size_t WhiteAtFront(std::string_view text) {
  size_t n = 0;
  while (n < text.size()) {
    const DecodedChar c = DecodeUtf8(text.substr(n));
    if (!c.well_formed || !IsWhite(c.code)) break;
    n += static_cast<size_t>(c.length);
  }
  return n;
}

std::string_view WithoutWhiteAtEnd(std::string_view text) {
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && text.size() - last < 4 && (text[last] & 0xC0) == 0x80) --last;
    const DecodedChar c = DecodeUtf8(text.substr(last));
    if (!c.well_formed || last + static_cast<size_t>(c.length) != text.size() || !IsWhite(c.code)) {
      break;
    }
    text = text.substr(0, last);
  }
  return text;
}

}  // namespace vecino::encoder
