// The folder in which snapshots stand: one folder each, which is there whole or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/snapshot_manifest.h"

namespace vecino::storage {

// Called now and then with what was dealt with since the last call; not OK: the work ends with
// that.
using SnapshotProgressFn = std::function<absl::Status(uint64_t rows, uint64_t bytes)>;

// A snapshot is written as `{id}.tmp`, synced, then renamed to `{id}`; one that is deleted is
// renamed back first. So what a crash leaves behind ends in .tmp, and is no snapshot.
//
// Thread safety: all methods but Open are safe from any thread; those that change one id must not
// run at once (the engine sees to it). All block on disk. ids: of letters, digits, `-` and `_`, 1
// to 63. Errors of all: UNAVAILABLE naming the file when the disk fails; RESOURCE_EXHAUSTED when it
// is full.
class SnapshotFolder {
 public:
  explicit SnapshotFolder(std::string path);

  // Makes the folder when it is missing, and removes what crashes left. Before anything else.
  absl::Status Open();

  // The ids in ascending order, also of damaged ones. Other names in the folder are passed over.
  absl::StatusOr<std::vector<std::string>> List() const;
  bool Contains(std::string_view id) const;
  // What Read and CheckFile read from.
  std::string PathOf(std::string_view id) const;

  // NOT_FOUND; DATA_LOSS naming the file; FAILED_PRECONDITION for a newer format version.
  absl::StatusOr<SnapshotManifest> Read(std::string_view id) const;

  // A new empty folder for the snapshot's files. ALREADY_EXISTS when there is a snapshot of the id;
  // INVALID_ARGUMENT for what is no id, of which no method finds anything.
  absl::StatusOr<std::string> Begin(std::string_view id);
  // What was written to that folder becomes the snapshot; durable on return. On an error there is
  // none, and Abandon is due.
  absl::Status Publish(std::string_view id, const SnapshotManifest& manifest);
  // Removes what Begin made, as far as that can be done; the next Open does the rest.
  void Abandon(std::string_view id);

  // Removes the snapshot; durable on return. NOT_FOUND. After another error it may be gone from
  // List already; calling it again removes the rest.
  absl::Status Delete(std::string_view id);

  // Reads the file and compares length and checksum. DATA_LOSS naming it, also when it is missing;
  // what `progress` (0 rows) says.
  absl::Status CheckFile(std::string_view id, const SnapshotFile& file,
                         const SnapshotProgressFn& progress) const;

 private:
  const std::string path_;
};

// The length and the CRC-32C of a file. NOT_FOUND when it is missing; UNAVAILABLE; what `progress`
// (null: none) says. Blocks on disk. Thread-safe.
struct FileDigest {
  uint64_t bytes = 0;
  uint32_t crc32c = 0;
};
absl::StatusOr<FileDigest> DigestFile(const std::string& path, const SnapshotProgressFn& progress);

}  // namespace vecino::storage
