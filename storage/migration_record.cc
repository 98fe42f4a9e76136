#include "storage/migration_record.h"

#include <utility>

#include "storage/codec.h"
#include "storage/records.h"

namespace vecino::storage {

std::string EncodeMigration(const MigrationRecord& record) {
  std::string bytes;
  AppendByte(kValueVersion, &bytes);
  AppendVarint(record.last_range, &bytes);
  AppendBytes(record.other.has_value() ? EncodeCollectionRecord(*record.other) : "", &bytes);
  bytes.append(record.bytes);
  return bytes;
}

absl::StatusOr<MigrationRecord> DecodeMigration(uint32_t uid, std::string_view bytes) {
  ByteReader reader(bytes);
  uint8_t version = 0;
  if (!reader.ReadByte(&version) || version != kValueVersion) {
    return absl::DataLossError("migration has an unknown value version");
  }
  MigrationRecord record;
  record.uid = uid;
  std::string_view other;
  if (!reader.ReadVarint(&record.last_range) || record.last_range == 0 ||
      record.last_range > kMaxRange || !reader.ReadBytes(&other)) {
    return absl::DataLossError("migration is cut short, or its range is none");
  }
  if (!other.empty()) {
    absl::StatusOr<CollectionRecord> decoded = DecodeCollectionRecord(other);
    if (!decoded.ok()) return decoded.status();
    record.other = *std::move(decoded);
  }
  record.bytes = std::string(reader.rest());
  return record;
}

}  // namespace vecino::storage
