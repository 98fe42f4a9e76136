#include "storage/alias_record.h"

#include <limits>

#include "storage/codec.h"
#include "storage/records.h"

namespace vecino::storage {

std::string EncodeAlias(const AliasRecord& record) {
  std::string bytes;
  AppendByte(kValueVersion, &bytes);
  AppendVarint(record.uid, &bytes);
  AppendSignedVarint(record.create_time_us, &bytes);
  AppendSignedVarint(record.update_time_us, &bytes);
  return bytes;
}

absl::StatusOr<AliasRecord> DecodeAlias(std::string_view id, std::string_view bytes) {
  ByteReader reader(bytes);
  uint8_t version = 0;
  if (!reader.ReadByte(&version) || version != kValueVersion) {
    return absl::DataLossError("alias has an unknown value version");
  }
  AliasRecord record;
  record.id = std::string(id);
  uint64_t uid = 0;
  if (!reader.ReadVarint(&uid) || uid == 0 || uid > std::numeric_limits<uint32_t>::max() ||
      !reader.ReadSignedVarint(&record.create_time_us) ||
      !reader.ReadSignedVarint(&record.update_time_us) || !reader.done()) {
    return absl::DataLossError("alias is cut short, or too long, or has no collection");
  }
  record.uid = static_cast<uint32_t>(uid);
  return record;
}

}  // namespace vecino::storage
