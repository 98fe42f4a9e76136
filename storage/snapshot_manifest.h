// What a snapshot of collections says of itself, in the file MANIFEST of its folder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/collection_record.h"
#include "storage/keys.h"

namespace vecino::storage {

// One collection of a snapshot.
struct SnapshotCollection {
  CollectionRecord record;  // its uid is that of the keys in the files
  uint64_t last_range = 0;  // as MigrationRecord::last_range; 0: it was never migrated
  uint64_t documents = 0;   // ids it had
  uint64_t rows = 0;        // in its files
};

// Rows of one collection and one column family as they are in the store, in order of keys: a table
// of RocksDB.
struct SnapshotFile {
  std::string name;  // in the snapshot's folder; 1 to 255 of 0-9, a-z and `.`
  uint32_t uid = 0;  // of the collection
  Family family = Family::kMeta;
  uint64_t rows = 0, bytes = 0;
  uint32_t crc32c = 0;  // of the whole file
};

struct SnapshotManifest {
  int64_t create_time_us = 0;  // the moment that it shows; microseconds since the Unix epoch
  std::string server_version;  // that wrote it
  std::vector<SnapshotCollection> collections;  // by id
  std::vector<SnapshotFile> files;

  uint64_t bytes() const;      // of all files
  uint64_t documents() const;  // of all collections
};

inline constexpr uint32_t kSnapshotFormatVersion = 1;

// The bytes, as docs/snapshots.md tells them. Pure functions; thread-safe.
std::string EncodeSnapshotManifest(const SnapshotManifest& manifest);
// DATA_LOSS saying what is wrong with the bytes; FAILED_PRECONDITION for a newer format version.
absl::StatusOr<SnapshotManifest> DecodeSnapshotManifest(std::string_view bytes);

}  // namespace vecino::storage
