#include "server/rpc/text.h"

#include "server/engine/utf8.h"

namespace vecino::rpc {

std::string Printable(std::string_view bytes, size_t limit) {
  const bool cut = bytes.size() > limit;
  if (cut) bytes = bytes.substr(0, limit < 3 ? 0 : limit - 3);
  std::string text;
  while (true) {
    const size_t good = engine::FindInvalidUtf8(bytes).value_or(bytes.size());
    text.append(bytes.substr(0, good));
    bytes.remove_prefix(good);
    if (bytes.empty()) break;
    text.push_back('?');
    bytes.remove_prefix(1);
  }
  if (cut) text.append("...");
  return text;
}

}  // namespace vecino::rpc
