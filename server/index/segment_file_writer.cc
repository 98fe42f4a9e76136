#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/crc32c.h"
#include "server/index/give_way.h"
#include "server/index/segment_file.h"
#include "server/index/segment_file_format.h"

namespace vecino::index {
namespace {

namespace format = segment_file_format;

constexpr size_t kBufferBytes = size_t{1} << 20;
// A call of write may hold its processor for its whole length.
constexpr size_t kWriteBytes = size_t{1} << 17;
// So many bytes behind, the kernel is asked to begin writing: one large fsync at the end would hold
// up the syncs of the write-ahead log on the same disk.
constexpr uint64_t kWritebackBytes = uint64_t{8} << 20;

absl::Status Fault(const std::string& doing, int error) {
  const std::string text = absl::StrCat(doing, ": ", std::generic_category().message(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(absl::StrCat(text, "; free some space on that disk"));
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(
          absl::StrCat(text, "; give the user that runs the server the right to write there"));
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
      return absl::FailedPreconditionError(text);
    default:
      return absl::UnavailableError(text);
  }
}

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

absl::Status SyncFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int error = fd < 0 ? errno : 0;
  if (fd >= 0 && fsync(fd) != 0) error = errno;
  if (fd >= 0) close(fd);
  return error == 0 ? absl::OkStatus() : Fault(absl::StrCat("cannot sync folder ", folder), error);
}

void CopyPadded(std::string_view text, char* field) {
  std::memcpy(field, text.data(), text.size());
}

}  // namespace

struct SegmentFileWriter::Impl {
  std::string path, temporary, type;
  absl::Status status;  // the first error

  // On disk.
  int fd = -1;
  std::unique_ptr<std::byte[]> buffer;
  size_t buffered = 0;
  uint64_t written = 0, writeback = 0;
  // In memory: pages, so that growing moves nothing.
  std::byte* memory = nullptr;
  size_t capacity = 0;

  uint64_t position = 0;  // bytes so far
  std::vector<SegmentFile::Entry> entries;

  absl::Status Fail(absl::Status error) {
    if (status.ok()) status = std::move(error);
    return status;
  }

  std::string Doing() const {
    return absl::StrCat("cannot write index file ", path.empty() ? "in memory" : path, ", ",
                        position, " bytes so far");
  }

  absl::Status WriteOut(const std::byte* data, size_t bytes) {
    while (bytes > 0) {
      GiveWay();
      const ssize_t n = write(fd, data, std::min(bytes, kWriteBytes));
      if (n < 0 && errno == EINTR) continue;
      // A write of nothing, without a reason: the disk is full, as far as anyone can tell.
      if (n <= 0) return Fail(Fault(Doing(), n < 0 ? errno : ENOSPC));
      data += n;
      bytes -= static_cast<size_t>(n);
      written += static_cast<uint64_t>(n);
    }
    if (written - writeback >= kWritebackBytes) {
      sync_file_range(fd, static_cast<off64_t>(writeback),
                      static_cast<off64_t>(written - writeback), SYNC_FILE_RANGE_WRITE);
      writeback = written;
    }
    return absl::OkStatus();
  }

  absl::Status Flush() { return WriteOut(buffer.get(), std::exchange(buffered, 0)); }

  absl::Status Grow(size_t needed) {
    if (needed <= capacity) return absl::OkStatus();
    const size_t target =
        format::RoundUp(std::max(needed, capacity + capacity / 2), 16 * format::kSectionAlignment);
    void* const moved = memory == nullptr ? mmap(nullptr, target, PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                          : mremap(memory, capacity, target, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) {
      return Fail(absl::ResourceExhaustedError(
          absl::StrCat("no memory for an index file of ", needed, " bytes")));
    }
    memory = static_cast<std::byte*>(moved);
    capacity = target;
    return absl::OkStatus();
  }

  absl::Status Write(const void* from, size_t bytes) {
    if (!status.ok() || bytes == 0) return status;
    const auto* data = static_cast<const std::byte*>(from);
    if (path.empty()) {
      if (absl::Status grown = Grow(position + bytes); !grown.ok()) return grown;
      std::memcpy(memory + position, data, bytes);
      position += bytes;
      return absl::OkStatus();
    }
    position += bytes;
    if (buffered + bytes <= kBufferBytes) {
      std::memcpy(buffer.get() + buffered, data, bytes);
      buffered += bytes;
      return absl::OkStatus();
    }
    if (absl::Status flushed = Flush(); !flushed.ok()) return flushed;
    if (bytes > kBufferBytes / 2) return WriteOut(data, bytes);
    std::memcpy(buffer.get(), data, bytes);
    buffered = bytes;
    return absl::OkStatus();
  }

  absl::Status PadTo(uint64_t multiple) {
    static constexpr std::byte kZeros[format::kSectionAlignment] = {};
    return Write(kZeros, format::RoundUp(position, multiple) - position);
  }

  absl::Status WriteTable() {
    if (absl::Status padded = PadTo(format::kTableAlignment); !padded.ok()) return padded;
    format::Footer footer = {};
    footer.table_offset = position;
    footer.sections = static_cast<uint32_t>(entries.size());
    for (const SegmentFile::Entry& entry : entries) {
      format::TableEntry row = {};
      CopyPadded(entry.name, row.name);
      row.offset = entry.offset;
      row.length = entry.length;
      row.crc = entry.crc;
      footer.table_crc = ExtendCrc32c(footer.table_crc, &row, sizeof row);
      if (absl::Status added = Write(&row, sizeof row); !added.ok()) return added;
    }
    footer.file_length = position + sizeof footer;
    footer.crc = Crc32c(&footer, offsetof(format::Footer, crc));
    std::memcpy(footer.end, format::kEnd, sizeof footer.end);
    return Write(&footer, sizeof footer);
  }

  // The only place where the final name comes into being: after every byte is on the disk.
  absl::Status Publish() {
    if (absl::Status flushed = Flush(); !flushed.ok()) return flushed;
    if (fsync(fd) != 0) return Fail(Fault(Doing(), errno));
    if (close(std::exchange(fd, -1)) != 0) return Fail(Fault(Doing(), errno));
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
      return Fail(Fault(absl::StrCat("cannot rename ", temporary, " to ", path), errno));
    }
    temporary.clear();
    if (absl::Status synced = SyncFolder(FolderOf(path)); !synced.ok()) return Fail(synced);
    return absl::OkStatus();
  }

  void Discard() {
    if (fd >= 0) close(std::exchange(fd, -1));
    if (!temporary.empty()) unlink(temporary.c_str());
    temporary.clear();
    if (memory != nullptr) munmap(std::exchange(memory, nullptr), capacity);
  }
};

SegmentFileWriter::SegmentFileWriter(std::string path, std::string_view type)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = std::move(path);
  impl_->type = std::string(type);
  format::Header header = {};
  if (type.size() > sizeof header.type || type.find('\0') != type.npos) {
    (void)impl_->Fail(absl::InternalError(
        absl::StrCat("index file type '", std::string(type), "' has ", type.size(), " characters, ",
                     sizeof header.type, " are allowed, none of them NUL")));
    return;
  }
  if (!impl_->path.empty()) {
    impl_->temporary = absl::StrCat(impl_->path, ".tmp");
    impl_->fd = open(impl_->temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (impl_->fd < 0) {
      (void)impl_->Fail(Fault(absl::StrCat("cannot make index file ", impl_->temporary), errno));
      impl_->temporary.clear();
      return;
    }
    impl_->buffer = std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
  }
  std::memcpy(header.magic, format::kMagic, sizeof header.magic);
  header.version = kSegmentFileVersion;
  CopyPadded(type, header.type);
  header.crc = Crc32c(&header, offsetof(format::Header, crc));
  (void)impl_->Write(&header, sizeof header);
}

SegmentFileWriter::~SegmentFileWriter() { impl_->Discard(); }

absl::Status SegmentFileWriter::Begin(std::string_view name) {
  if (!impl_->status.ok()) return impl_->status;
  std::vector<SegmentFile::Entry>& entries = impl_->entries;
  if (name.empty() || name.size() > sizeof(format::TableEntry::name) ||
      name.find('\0') != name.npos) {
    return impl_->Fail(absl::InternalError(absl::StrCat(
        "section name '", std::string(name), "' has ", name.size(), " characters, 1 to ",
        sizeof(format::TableEntry::name), " are allowed, none of them NUL")));
  }
  if (std::any_of(entries.begin(), entries.end(), [&](const auto& e) { return e.name == name; })) {
    return impl_->Fail(absl::InternalError(absl::StrCat(
        "index file ", impl_->path, " has a section '", std::string(name), "' already")));
  }
  if (absl::Status padded = impl_->PadTo(format::kSectionAlignment); !padded.ok()) return padded;
  entries.push_back({std::string(name), impl_->position, 0, 0});
  return absl::OkStatus();
}

absl::Status SegmentFileWriter::Append(const void* data, size_t bytes) {
  if (!impl_->status.ok()) return impl_->status;
  if (impl_->entries.empty()) {
    return impl_->Fail(
        absl::InternalError(absl::StrCat("no section of index file ", impl_->path, " was begun")));
  }
  SegmentFile::Entry& entry = impl_->entries.back();
  entry.crc = ExtendCrc32c(entry.crc, data, bytes);
  entry.length += bytes;
  return impl_->Write(data, bytes);
}

absl::Status SegmentFileWriter::AddSection(std::string_view name, const void* data, size_t bytes) {
  if (absl::Status begun = Begin(name); !begun.ok()) return begun;
  return Append(data, bytes);
}

absl::StatusOr<std::shared_ptr<const SegmentFile>> SegmentFileWriter::Commit() {
  Impl& impl = *impl_;
  if (absl::Status ended = impl.WriteTable(); !ended.ok()) return ended;
  if (!impl.path.empty()) {
    if (absl::Status published = impl.Publish(); !published.ok()) return published;
    (void)impl.Fail(absl::FailedPreconditionError("the index file was committed already"));
    auto file = SegmentFile::Open(impl.path, impl.type, SegmentFile::Verify::kTable);
    if (!file.ok()) return file.status();
    // What was written is in the page cache: mapped here, by who builds, and not page by page by
    // the first thousands of searches. In pieces, because a map is locked meanwhile.
    constexpr uint64_t kPiece = uint64_t{4} << 20;
    for (uint64_t at = 0; at < impl.position; at += kPiece) {
      const uint64_t bytes = std::min(kPiece, impl.position - at);
      if (absl::Status status = (*file)->Touch(at, bytes); !status.ok()) return status;
    }
    return file;
  }
  const std::shared_ptr<SegmentFile> file(new SegmentFile);
  mremap(impl.memory, impl.capacity, impl.position, 0);  // gives back the pages behind the end
  file->data_ = std::exchange(impl.memory, nullptr);
  file->size_ = impl.position;
  file->type_ = impl.type;
  (void)impl.Fail(absl::FailedPreconditionError("the index file was committed already"));
  if (absl::Status status = file->ReadTable(&file->entries_); !status.ok()) return status;
  return std::shared_ptr<const SegmentFile>(file);
}

std::vector<std::string> RemoveLeftovers(const std::string& folder,
                                         const std::vector<std::string>& keep) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    const std::string name = it->path().filename().string();
    const bool kept = std::find(keep.begin(), keep.end(), name) != keep.end();
    if (it->symlink_status(ignored).type() == std::filesystem::file_type::regular &&
        (!kept || name.ends_with(".tmp"))) {
      names.push_back(name);
    }
  }
  std::erase_if(names, [&](const std::string& name) {
    return unlink((std::filesystem::path(folder) / name).c_str()) != 0;
  });
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status MakeFolder(const std::string& folder) {
  std::filesystem::path path;
  for (const std::filesystem::path& part : std::filesystem::path(folder)) {
    path /= part;
    if (part.empty()) continue;  // behind a final slash
    if (mkdir(path.c_str(), 0755) == 0) {
      if (absl::Status synced = SyncFolder(FolderOf(path)); !synced.ok()) return synced;
      continue;
    }
    const int error = errno;
    std::error_code ignored;
    if (!std::filesystem::is_directory(path, ignored)) {
      return Fault(absl::StrCat("cannot make folder ", path.string()), error);
    }
  }
  return absl::OkStatus();
}

}  // namespace vecino::index
