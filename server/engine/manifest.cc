#include "server/engine/manifest.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vecino::engine {
namespace {

constexpr char kVersion = 1;
constexpr size_t kSize = 17;

void PutFixed64(uint64_t value, std::string* out) {
  for (int i = 0; i < 8; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t GetFixed64(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

}  // namespace

std::string EncodeManifest(const Manifest& manifest) {
  std::string bytes(1, kVersion);
  PutFixed64(manifest.drained_through, &bytes);
  PutFixed64(manifest.rows, &bytes);
  return bytes;
}

absl::StatusOr<Manifest> DecodeManifest(std::string_view bytes) {
  if (bytes.empty() || bytes[0] != kVersion || bytes.size() != kSize) {
    return absl::DataLossError(absl::StrCat(
        "a shard manifest of ", bytes.size(), " bytes",
        bytes.empty() ? "" : absl::StrCat(" and version ", static_cast<unsigned char>(bytes[0])),
        " is not one of version ", static_cast<int>(kVersion), " and ", kSize, " bytes"));
  }
  return Manifest{GetFixed64(bytes.substr(1)), GetFixed64(bytes.substr(9))};
}

}  // namespace vecino::engine
