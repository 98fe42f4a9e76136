// The container of everything the index keeps on disk: named, checksummed, memory-mapped sections.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vecino::index {

// docs/storage_format.md describes the bytes. In short: magic "VECSEG", format version, file type,
// sections each at a multiple of 4,096 bytes, a table {name, offset, length, CRC-32C} behind them,
// and a footer with the table's place and checksum, so that a file is written front to back.
inline constexpr uint32_t kSegmentFileVersion = 2;

// What may be kept of a file: read only, for any thread. Mapped, or in memory when it never was a
// file.
class SegmentFile {
 public:
  // Files that are opened from now on stay in memory once their pages were read (mlock), as long as
  // all of them together are not more than `limit` bytes; those beyond it the kernel may drop page
  // by page, and a search then waits for the disk. 0, which is the state before: none.
  // RESOURCE_EXHAUSTED when the system lets this process lock fewer bytes; so many it is then.
  static absl::Status KeepInMemory(int64_t limit);
  static int64_t BytesKept();  // of all files that are open

  // all: every section's checksum, which reads the whole file. only: the same, of a file that is
  // not opened to be used, so that it takes nothing of KeepInMemory from those that are.
  enum class Verify { kTable, kAll, kOnly };

  // type: what the caller expects, up to 16 characters. NOT_FOUND; DATA_LOSS naming the file and
  // what is wrong with it; FAILED_PRECONDITION for a newer format version. Blocks on the disk.
  static absl::StatusOr<std::shared_ptr<const SegmentFile>> Open(const std::string& path,
                                                                 std::string_view type,
                                                                 Verify verify);
  ~SegmentFile();
  SegmentFile(const SegmentFile&) = delete;
  SegmentFile& operator=(const SegmentFile&) = delete;

  // Valid as long as this object; aligned to 64 bytes at least. NOT_FOUND names the file and
  // section.
  absl::StatusOr<std::span<const std::byte>> Section(std::string_view name) const;
  // The same as elements of T; DATA_LOSS when the length is not `count` of them.
  template <typename T>
  absl::StatusOr<const T*> Array(std::string_view name, size_t count) const {
    auto bytes = SectionOfSize(name, count, sizeof(T));
    if (!bytes.ok()) return bytes.status();
    return reinterpret_cast<const T*>(*bytes);
  }

  // Reads everything and compares checksums. DATA_LOSS. Blocks.
  absl::Status VerifyAll() const;
  // Tells the kernel how `name` will be read: at random (no read-ahead) or soon.
  void AdviseRandom(std::string_view name) const;

  const std::string& path() const { return path_; }  // empty: in memory only
  int64_t bytes() const { return static_cast<int64_t>(size_); }

 private:
  friend class SegmentFileWriter;
  struct Entry {
    std::string name;
    uint64_t offset = 0, length = 0;
    uint32_t crc = 0;
  };
  SegmentFile() = default;
  absl::Status Damaged(const std::string& what) const;
  // Checks header, footer and table, and reads the table.
  absl::Status ReadTable(std::vector<Entry>* entries) const;
  absl::Status Touch(uint64_t offset, uint64_t bytes) const;
  void Keep();  // before pages are read
  const Entry* Find(std::string_view name) const;
  absl::StatusOr<const std::byte*> SectionOfSize(std::string_view name, size_t count,
                                                 size_t element) const;

  std::string path_;
  std::string type_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
  bool kept_ = false;
  std::vector<Entry> entries_;
};

// Writes one file: sections in turn, each appended to in pieces. Not thread safe. After an error
// every further call returns it. What is not committed leaves nothing behind but a *.tmp file,
// which RemoveLeftovers deletes.
class SegmentFileWriter {
 public:
  // path: where the file will stand; "" keeps it in memory. type: up to 16 characters.
  SegmentFileWriter(std::string path, std::string_view type);
  ~SegmentFileWriter();
  SegmentFileWriter(const SegmentFileWriter&) = delete;
  SegmentFileWriter& operator=(const SegmentFileWriter&) = delete;

  // Ends the section before and begins one. name: 1 to 24 characters, unique.
  absl::Status Begin(std::string_view name);
  absl::Status Append(const void* data, size_t bytes);
  absl::Status AddSection(std::string_view name, const void* data, size_t bytes);

  // Writes table and footer, fsync, rename, fsync of the folder; then maps it. Call once, last.
  // RESOURCE_EXHAUSTED when the disk is full, naming the file and the bytes.
  absl::StatusOr<std::shared_ptr<const SegmentFile>> Commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Deletes *.tmp and every other regular file in `folder` whose name is not in `keep`. Best effort;
// returns the names deleted.
std::vector<std::string> RemoveLeftovers(const std::string& folder,
                                         const std::vector<std::string>& keep);

// Makes the folder and its parents, durably.
absl::Status MakeFolder(const std::string& folder);

}  // namespace vecino::index
