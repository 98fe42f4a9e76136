#include "storage/snapshot_tables.h"

#include <cstdio>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rocksdb/file_checksum.h"
#include "rocksdb/iterator.h"
#include "rocksdb/slice.h"
#include "rocksdb/sst_file_reader.h"
#include "storage/codec.h"
#include "storage/rocksdb_status.h"
#include "storage/slices.h"

namespace vecino::storage {

SnapshotTableWriter::SnapshotTableWriter(rocksdb::Env* env, std::string folder, uint32_t uid,
                                         Family family, std::vector<SnapshotFile>* files,
                                         uint64_t file_bytes)
    : folder_(std::move(folder)),
      uid_(uid),
      family_(family),
      files_(files),
      file_bytes_(file_bytes) {
  options_.env = env;
  // Read once, front to back, if ever: small rather than quick. Vectors do not get smaller.
  options_.file_checksum_gen_factory = rocksdb::GetFileChecksumGenCrc32cFactory();
  options_.compression = family == Family::kVectors ? rocksdb::kNoCompression : rocksdb::kZSTD;
}

absl::Status SnapshotTableWriter::Add(std::string_view key, std::string_view value,
                                      const SnapshotProgressFn& progress) {
  if (writer_ == nullptr) {
    file_ = {};
    file_.name = absl::StrFormat("%06d.sst", files_->size() + 1);
    file_.uid = uid_;
    file_.family = family_;
    rocksdb::EnvOptions how;
    how.bytes_per_sync = 1u << 20;  // or the sync of all at the end holds up those of the log
    writer_ = std::make_unique<rocksdb::SstFileWriter>(how, options_);
    const std::string path = absl::StrCat(folder_, "/", file_.name);
    if (const rocksdb::Status status = writer_->Open(path); !status.ok()) {
      return ToStatus(status, "making the file " + path);
    }
  }
  if (const rocksdb::Status status = writer_->Put(AsSlice(key), AsSlice(value)); !status.ok()) {
    return ToStatus(status, absl::StrCat("writing the file ", folder_, "/", file_.name));
  }
  ++file_.rows;
  return writer_->FileSize() < file_bytes_ ? absl::OkStatus() : Finish(progress);
}

absl::Status SnapshotTableWriter::Finish(const SnapshotProgressFn& progress) {
  if (writer_ == nullptr) return absl::OkStatus();
  const std::string path = absl::StrCat(folder_, "/", file_.name);
  rocksdb::ExternalSstFileInfo written;
  const rocksdb::Status finished = writer_->Finish(&written);  // syncs
  writer_.reset();
  if (!finished.ok()) return ToStatus(finished, "writing the file " + path);
  // What the disk has, not only what it was given: the two are compared.
  const absl::StatusOr<FileDigest> digest = DigestFile(path, progress);
  if (!digest.ok()) return digest.status();
  std::string read;
  AppendBigEndian32(digest->crc32c, &read);
  if (read != written.file_checksum || digest->bytes != written.file_size) {
    return absl::DataLossError(absl::StrCat(
        "the disk gave back other bytes of ", path,
        " than were written; look at the disk and at its log, then take another snapshot"));
  }
  file_.bytes = digest->bytes;
  file_.crc32c = digest->crc32c;
  files_->push_back(std::move(file_));
  return absl::OkStatus();
}

absl::Status ReadSnapshotTable(
    rocksdb::Env* env, const std::string& folder, const SnapshotFile& file,
    const std::function<absl::Status(std::string_view key, std::string_view value)>& fn) {
  const std::string path = absl::StrCat(folder, "/", file.name);
  rocksdb::Options options;
  options.env = env;
  rocksdb::SstFileReader reader(options);
  if (const rocksdb::Status status = reader.Open(path); !status.ok()) {
    return ToStatus(status, "opening the file " + path);
  }
  rocksdb::ReadOptions read_options;
  read_options.fill_cache = false;
  read_options.readahead_size = 2u << 20;
  uint64_t rows = 0;
  const std::unique_ptr<rocksdb::Iterator> at(reader.NewIterator(read_options));
  for (at->SeekToFirst(); at->Valid(); at->Next(), ++rows) {
    absl::Status status =
        fn({at->key().data(), at->key().size()}, {at->value().data(), at->value().size()});
    if (!status.ok()) return status;
  }
  if (!at->status().ok()) return ToStatus(at->status(), "reading the file " + path);
  if (rows == file.rows) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, " has ", rows, " rows, it had ", file.rows, " when it was written"));
}

}  // namespace vecino::storage
