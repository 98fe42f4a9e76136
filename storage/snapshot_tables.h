// Rows of the store in tables of their own, which a snapshot is made of. For store_snapshot.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "rocksdb/env.h"
#include "rocksdb/options.h"
#include "rocksdb/sst_file_writer.h"
#include "storage/keys.h"
#include "storage/snapshot_folder.h"
#include "storage/snapshot_manifest.h"

namespace vecino::storage {

// Writes the rows of one collection and family, cut into files. One thread; blocks on disk.
class SnapshotTableWriter {
 public:
  static constexpr uint64_t kFileBytes = 256u << 20;  // about; so that a damaged one is not all

  // Files are numbered on behind those in `files`, which gets what is written. env and files must
  // outlive it. file_bytes: where a file is cut.
  SnapshotTableWriter(rocksdb::Env* env, std::string folder, uint32_t uid, Family family,
                      std::vector<SnapshotFile>* files, uint64_t file_bytes = kFileBytes);

  // Keys in ascending order. RESOURCE_EXHAUSTED, UNAVAILABLE.
  absl::Status Add(std::string_view key, std::string_view value,
                   const SnapshotProgressFn& progress);
  // After the last row. Synced on return.
  absl::Status Finish(const SnapshotProgressFn& progress);

 private:
  const std::string folder_;
  const uint32_t uid_;
  const Family family_;
  std::vector<SnapshotFile>* const files_;
  const uint64_t file_bytes_;
  rocksdb::Options options_;
  std::unique_ptr<rocksdb::SstFileWriter> writer_;  // null: between files
  SnapshotFile file_;                               // that is being written
};

// Calls `fn` with every row of the file, in order, until it returns an error, which is passed on.
// DATA_LOSS naming the file when a block's checksum is wrong, or when it has not file.rows rows.
absl::Status ReadSnapshotTable(
    rocksdb::Env* env, const std::string& folder, const SnapshotFile& file,
    const std::function<absl::Status(std::string_view key, std::string_view value)>& fn);

}  // namespace vecino::storage
