#include "storage/snapshot_manifest.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "storage/codec.h"
#include "storage/crc32c.h"
#include "storage/migration_record.h"

namespace vecino::storage {
namespace {

static_assert(kFormatVersion == 3,
              "Rows in a snapshot are as in the store: where what is written there gets another "
              "version, kSnapshotFormatVersion does, too.");

constexpr std::string_view kMagic = "VECSNAP";
constexpr size_t kChecksumBytes = 4;
constexpr size_t kMaxNameBytes = 255;

bool IsFileName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '.';
         });
}

bool ReadCollection(ByteReader* reader, SnapshotCollection* collection, absl::Status* why) {
  std::string_view record;
  if (!reader->ReadBytes(&record) || !reader->ReadVarint(&collection->last_range) ||
      collection->last_range > kMaxRange || !reader->ReadVarint(&collection->documents) ||
      !reader->ReadVarint(&collection->rows)) {
    return false;
  }
  absl::StatusOr<CollectionRecord> decoded = DecodeCollectionRecord(record);
  if (!decoded.ok()) {
    *why = decoded.status();
    return false;
  }
  collection->record = *std::move(decoded);
  return true;
}

bool ReadFileEntry(ByteReader* reader, SnapshotFile* file) {
  std::string_view name;
  uint64_t uid = 0;
  uint8_t family = 0;
  if (!reader->ReadBytes(&name) || !IsFileName(name) || !reader->ReadVarint(&uid) ||
      uid > UINT32_MAX || !reader->ReadByte(&family) || family >= kFamilyCount ||
      !reader->ReadVarint(&file->rows) || !reader->ReadVarint(&file->bytes) ||
      !reader->ReadLittleEndian32(&file->crc32c)) {
    return false;
  }
  file->name = std::string(name);
  file->uid = static_cast<uint32_t>(uid);
  file->family = static_cast<Family>(family);
  return true;
}

// That the parts of a manifest fit each other.
absl::Status CheckParts(const SnapshotManifest& manifest) {
  std::set<uint32_t> uids;
  std::set<std::string> names;
  for (const SnapshotCollection& collection : manifest.collections) {
    if (!uids.insert(collection.record.uid).second) {
      return absl::DataLossError(
          absl::StrCat("two collections have the uid ", collection.record.uid));
    }
  }
  for (const SnapshotFile& file : manifest.files) {
    if (!uids.contains(file.uid) || !names.insert(file.name).second) {
      return absl::DataLossError(
          absl::StrCat("file ", file.name, " is named twice, or of no collection of it"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t SnapshotManifest::bytes() const {
  uint64_t sum = 0;
  for (const SnapshotFile& file : files) sum += file.bytes;
  return sum;
}

uint64_t SnapshotManifest::documents() const {
  uint64_t sum = 0;
  for (const SnapshotCollection& collection : collections) sum += collection.documents;
  return sum;
}

std::string EncodeSnapshotManifest(const SnapshotManifest& manifest) {
  std::string bytes(kMagic);
  AppendByte(0, &bytes);
  AppendLittleEndian32(kSnapshotFormatVersion, &bytes);
  AppendSignedVarint(manifest.create_time_us, &bytes);
  AppendBytes(manifest.server_version, &bytes);
  AppendVarint(manifest.collections.size(), &bytes);
  for (const SnapshotCollection& collection : manifest.collections) {
    AppendBytes(EncodeCollectionRecord(collection.record), &bytes);
    AppendVarint(collection.last_range, &bytes);
    AppendVarint(collection.documents, &bytes);
    AppendVarint(collection.rows, &bytes);
  }
  AppendVarint(manifest.files.size(), &bytes);
  for (const SnapshotFile& file : manifest.files) {
    AppendBytes(file.name, &bytes);
    AppendVarint(file.uid, &bytes);
    AppendByte(static_cast<uint8_t>(file.family), &bytes);
    AppendVarint(file.rows, &bytes);
    AppendVarint(file.bytes, &bytes);
    AppendLittleEndian32(file.crc32c, &bytes);
  }
  AppendLittleEndian32(Crc32c(bytes), &bytes);
  return bytes;
}

absl::StatusOr<SnapshotManifest> DecodeSnapshotManifest(std::string_view bytes) {
  const size_t head = kMagic.size() + 1;
  if (!bytes.starts_with(kMagic) || bytes.size() < head + 4 + kChecksumBytes || bytes[7] != 0) {
    return absl::DataLossError("this is no manifest of a snapshot, or it is cut short");
  }
  uint32_t version = 0, checksum = 0;
  ByteReader(bytes.substr(head)).ReadLittleEndian32(&version);
  if (version > kSnapshotFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the snapshot has format version ", version, ", this program knows versions ",
                     "up to ", kSnapshotFormatVersion, "; use a newer program"));
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  ByteReader(bytes.substr(body.size())).ReadLittleEndian32(&checksum);
  if (version == 0 || checksum != Crc32c(body)) {
    return absl::DataLossError("the manifest's checksum is wrong");
  }
  SnapshotManifest manifest;
  ByteReader reader(body.substr(head + 4));
  absl::Status why = absl::DataLossError("the manifest does not decode");
  std::string_view server;
  uint64_t count = 0;
  bool good = reader.ReadSignedVarint(&manifest.create_time_us) && reader.ReadBytes(&server) &&
              reader.ReadVarint(&count);
  manifest.server_version = std::string(server);
  for (uint64_t i = 0; good && i < count; ++i) {
    good = ReadCollection(&reader, &manifest.collections.emplace_back(), &why);
  }
  good = good && reader.ReadVarint(&count);
  for (uint64_t i = 0; good && i < count; ++i) {
    good = ReadFileEntry(&reader, &manifest.files.emplace_back());
  }
  if (!good || !reader.done()) return why;
  if (absl::Status status = CheckParts(manifest); !status.ok()) return status;
  return manifest;
}

}  // namespace vecino::storage
