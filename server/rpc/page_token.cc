#include "server/rpc/page_token.h"

#include <cstdint>
#include <limits>

#include "absl/strings/escaping.h"
#include "server/engine/types.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// Layout: version (1 byte), shard (4, little-endian), after_id, checksum (8, little-endian). Kind
// and scope are in the checksum only.
constexpr char kVersion = 1;
constexpr size_t kHeader = 5, kChecksum = 8;

void AppendLittleEndian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t ReadLittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// FNV-1a, 64 bits, over the parts with their lengths.
uint64_t Checksum(std::string_view kind, std::string_view scope, std::string_view body) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (std::string_view part : {kind, scope, body}) {
    for (int i = 0; i < 8; ++i) add(static_cast<uint8_t>(part.size() >> (8 * i)));
    for (char c : part) add(static_cast<uint8_t>(c));
  }
  return hash;
}

}  // namespace

std::string MakePageToken(std::string_view kind, std::string_view scope,
                          const PagePosition& position) {
  std::string bytes(1, kVersion);
  AppendLittleEndian(bytes, static_cast<uint32_t>(position.shard), 4);
  bytes += position.after_id;
  AppendLittleEndian(bytes, Checksum(kind, scope, bytes), kChecksum);
  return absl::WebSafeBase64Escape(bytes);
}

absl::StatusOr<PagePosition> ReadPageToken(std::string_view kind, std::string_view scope,
                                           std::string_view token, std::string_view field) {
  std::string bytes;
  if (absl::WebSafeBase64Unescape(ToAbsl(token), &bytes) && bytes.size() >= kHeader + kChecksum &&
      bytes[0] == kVersion && absl::WebSafeBase64Escape(bytes) == ToAbsl(token)) {
    const std::string_view body = std::string_view(bytes).substr(0, bytes.size() - kChecksum);
    const uint64_t shard = ReadLittleEndian(body.substr(1, 4));
    if (ReadLittleEndian(std::string_view(bytes).substr(body.size())) ==
            Checksum(kind, scope, body) &&
        shard < static_cast<uint64_t>(engine::Limits::kMaxShards)) {
      return PagePosition{static_cast<int>(shard), std::string(body.substr(kHeader))};
    }
  }
  return engine::InvalidField(field,
                              Concat("is not one that ", kind,
                                     " returned for this request; leave it empty to start again"));
}

}  // namespace vecino::rpc
