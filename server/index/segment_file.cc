#include "server/index/segment_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/index/crc32c.h"
#include "server/index/segment_file_format.h"

namespace vecino::index {
namespace {

namespace format = segment_file_format;

// See KeepInMemory.
std::atomic<int64_t> keep_limit{0}, bytes_kept{0};

// Read at once when everything is verified.
constexpr size_t kPieceBytes = size_t{8} << 20;

// The text of a field that is padded with zeros; false when something follows them.
bool Unpad(const char* field, size_t size, std::string* text) {
  const size_t length = strnlen(field, size);
  text->assign(field, length);
  return std::all_of(field + length, field + size, [](char c) { return c == 0; });
}

bool AllZero(const std::byte* data, size_t bytes) {
  return std::all_of(data, data + bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

SegmentFile::~SegmentFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
  if (kept_) bytes_kept.fetch_sub(static_cast<int64_t>(size_));
}

absl::Status SegmentFile::KeepInMemory(int64_t limit) {
  keep_limit.store(0);
  if (limit <= 0) return absl::OkStatus();
  // Whether it is allowed shows on addresses alone.
  void* const probe = mmap(nullptr, static_cast<size_t>(limit), PROT_READ,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  const bool allowed =
      probe != MAP_FAILED && mlock2(probe, static_cast<size_t>(limit), MLOCK_ONFAULT) == 0;
  if (probe != MAP_FAILED) munmap(probe, static_cast<size_t>(limit));
  if (allowed) {
    keep_limit.store(limit);
    return absl::OkStatus();
  }
  rlimit most = {};
  if (getrlimit(RLIMIT_MEMLOCK, &most) != 0) most.rlim_cur = 0;
  const int64_t fewer = static_cast<int64_t>(std::min<rlim_t>(most.rlim_cur, limit));
  keep_limit.store(fewer);
  return absl::ResourceExhaustedError(absl::StrCat(
      "the system lets this process lock ", fewer, " bytes in memory, not ", limit,
      "; pages of index files beyond may be dropped and are then read from the disk again. Raise "
      "the limit (ulimit -l, LimitMEMLOCK=), grant CAP_IPC_LOCK, or set index.locked-percent to "
      "0"));
}

int64_t SegmentFile::BytesKept() { return bytes_kept.load(); }

void SegmentFile::Keep() {
  const auto bytes = static_cast<int64_t>(size_);
  if (bytes_kept.fetch_add(bytes) + bytes <= keep_limit.load() &&
      mlock2(data_, size_, MLOCK_ONFAULT) == 0) {
    kept_ = true;
    return;
  }
  bytes_kept.fetch_sub(bytes);
}

absl::Status SegmentFile::Damaged(const std::string& what) const {
  return absl::DataLossError(absl::StrCat(path_.empty() ? "index file in memory" : "index file ",
                                          path_, " is damaged: ", what,
                                          "; delete it, it can be built anew from stored vectors"));
}

absl::StatusOr<std::shared_ptr<const SegmentFile>> SegmentFile::Open(const std::string& path,
                                                                     std::string_view type,
                                                                     Verify verify) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      return absl::NotFoundError(absl::StrCat("there is no index file ", path));
    }
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open index file ", path));
  }
  const std::shared_ptr<SegmentFile> file(new SegmentFile);
  file->path_ = path;
  struct stat info = {};
  void* data = MAP_FAILED;
  absl::Status status;
  if (fstat(fd, &info) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat("cannot read index file ", path));
  } else if (!S_ISREG(info.st_mode)) {
    status = file->Damaged("it is not a regular file");
  } else if (static_cast<uint64_t>(info.st_size) <
             sizeof(format::Header) + sizeof(format::Footer)) {
    status = file->Damaged(absl::StrCat("it is only ", info.st_size, " bytes long"));
  } else {
    data = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
      status = absl::ErrnoToStatus(
          errno, absl::StrCat("cannot map the ", info.st_size, " bytes of index file ", path));
    }
  }
  close(fd);
  if (!status.ok()) return status;
  file->data_ = static_cast<const std::byte*>(data);
  file->size_ = static_cast<size_t>(info.st_size);
  file->mapped_ = true;
  if (verify != Verify::kOnly) file->Keep();
  file->type_ = std::string(type);
  status = file->ReadTable(&file->entries_);
  if (status.ok() && verify != Verify::kTable) status = file->VerifyAll();
  if (!status.ok()) return status;
  return std::shared_ptr<const SegmentFile>(file);
}

absl::Status SegmentFile::ReadTable(std::vector<Entry>* entries) const {
  entries->clear();
  format::Header header;
  format::Footer footer;
  for (const size_t offset : {size_t{0}, size_ - sizeof footer}) {
    if (absl::Status status = Touch(offset, sizeof footer); !status.ok()) return status;
  }

  std::memcpy(&header, data_, sizeof header);
  if (std::memcmp(header.magic, format::kMagic, sizeof header.magic) != 0) {
    return Damaged("it does not begin with VECSEG");
  }
  if (Crc32c(&header, offsetof(format::Header, crc)) != header.crc) {
    return Damaged("the checksum of its header is wrong");
  }
  if (header.version > kSegmentFileVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "index file ", path_, " has format version ", header.version, ", this program reads up to ",
        kSegmentFileVersion, "; run a newer program, or delete the file"));
  }
  if (header.version == 0) return Damaged("it has format version 0");
  std::string type;
  if (!Unpad(header.type, sizeof header.type, &type) || type != type_) {
    return Damaged(
        absl::StrCat("it is of type '", absl::CHexEscape(type), "' where '", type_, "' belongs"));
  }

  std::memcpy(&footer, data_ + size_ - sizeof footer, sizeof footer);
  if (std::memcmp(footer.end, format::kEnd, sizeof footer.end) != 0 ||
      Crc32c(&footer, offsetof(format::Footer, crc)) != footer.crc) {
    return Damaged(absl::StrCat("it does not end as an index file does; it is ", size_,
                                " bytes long and may have been cut"));
  }
  // In this order nothing can overflow: `sections` has 32 bits.
  const uint64_t table_bytes = uint64_t{footer.sections} * sizeof(format::TableEntry);
  if (footer.file_length != size_ || footer.table_offset > size_ ||
      size_ - footer.table_offset != table_bytes + sizeof footer) {
    return Damaged(absl::StrCat("its footer tells of ", footer.file_length, " bytes and ",
                                footer.sections, " sections listed at byte ", footer.table_offset,
                                ", but it is ", size_, " bytes long"));
  }
  if (absl::Status status = Touch(footer.table_offset, table_bytes); !status.ok()) return status;
  const std::byte* table = data_ + footer.table_offset;
  if (Crc32c(table, table_bytes) != footer.table_crc) {
    return Damaged("the checksum of its table of sections is wrong");
  }

  // Sections stand one behind the other, so none can overlap another, the table or the header.
  uint64_t end = sizeof header;
  for (uint32_t i = 0; i < footer.sections; ++i) {
    format::TableEntry entry;
    std::memcpy(&entry, table + i * sizeof entry, sizeof entry);
    std::string name;
    if (!Unpad(entry.name, sizeof entry.name, &name) || name.empty()) {
      return Damaged(absl::StrCat("section ", i, " has no good name"));
    }
    const uint64_t offset = format::RoundUp(end, format::kSectionAlignment);
    if (entry.offset != offset || offset > footer.table_offset ||
        entry.length > footer.table_offset - offset) {
      return Damaged(absl::StrCat("section '", absl::CHexEscape(name), "' is said to be ",
                                  entry.length, " bytes at byte ", entry.offset));
    }
    end = offset + entry.length;
    entries->push_back({std::move(name), entry.offset, entry.length, entry.crc});
  }
  if (format::RoundUp(end, format::kTableAlignment) != footer.table_offset) {
    return Damaged(absl::StrCat("its sections end at byte ", end, ", its table begins at ",
                                footer.table_offset));
  }
  std::vector<std::string_view> names;
  for (const Entry& entry : *entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    return Damaged(
        absl::StrCat("it has two sections '", absl::CHexEscape(std::string(*twice)), "'"));
  }
  return absl::OkStatus();
}

absl::Status SegmentFile::VerifyAll() const {
  std::vector<Entry> entries;
  if (absl::Status status = ReadTable(&entries); !status.ok()) return status;
  if (entries.size() != entries_.size()) return Damaged("it changed while it was in use");
  uint64_t end = sizeof(format::Header);
  const auto skip_to = [&](uint64_t offset) -> absl::Status {
    if (absl::Status status = Touch(end, offset - end); !status.ok()) return status;
    if (AllZero(data_ + end, offset - end)) return absl::OkStatus();
    return Damaged(absl::StrCat("there is something between byte ", end, " and ", offset,
                                ", where no section is"));
  };
  for (const Entry& entry : entries_) {
    if (absl::Status status = skip_to(entry.offset); !status.ok()) return status;
    end = entry.offset + entry.length;
    uint32_t crc = 0;
    for (uint64_t at = entry.offset; at < end; at += kPieceBytes) {
      const size_t bytes = std::min<uint64_t>(kPieceBytes, end - at);
      if (absl::Status status = Touch(at, bytes); !status.ok()) return status;
      crc = ExtendCrc32c(crc, data_ + at, bytes);
    }
    if (crc != entry.crc) {
      return Damaged(absl::StrCat("the checksum of section '", absl::CHexEscape(entry.name), "', ",
                                  entry.length, " bytes at byte ", entry.offset, ", is wrong"));
    }
  }
  return skip_to(format::RoundUp(end, format::kTableAlignment));
}

// Reads a part of the map in such a way that an error of the disk, or a file that was cut
// meanwhile, is a status and not SIGBUS. Before Linux 5.14 there is no such way, and nothing is
// done.
absl::Status SegmentFile::Touch(uint64_t offset, uint64_t bytes) const {
#ifdef MADV_POPULATE_READ
  if (!mapped_ || bytes == 0) return absl::OkStatus();
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = offset / page * page;
  void* at = const_cast<std::byte*>(data_) + first;
  while (madvise(at, offset + bytes - first, MADV_POPULATE_READ) != 0) {
    if (errno == EINTR) continue;
    if (errno != EFAULT && errno != EHWPOISON) break;
    return Damaged(absl::StrCat("the disk does not give ", bytes, " bytes at byte ", offset));
  }
#endif
  return absl::OkStatus();
}

const SegmentFile::Entry* SegmentFile::Find(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

absl::StatusOr<std::span<const std::byte>> SegmentFile::Section(std::string_view name) const {
  const Entry* entry = Find(name);
  if (entry == nullptr) {
    return absl::NotFoundError(absl::StrCat(path_.empty() ? "index file in memory" : "index file ",
                                            path_, " has no section '", std::string(name), "'"));
  }
  return std::span<const std::byte>(data_ + entry->offset, entry->length);
}

absl::StatusOr<const std::byte*> SegmentFile::SectionOfSize(std::string_view name, size_t count,
                                                            size_t element) const {
  const auto bytes = Section(name);
  if (!bytes.ok()) return bytes.status();
  if (bytes->size() % element != 0 || bytes->size() / element != count) {
    return Damaged(absl::StrCat("section '", std::string(name), "' has ", bytes->size(),
                                " bytes, not ", count, " times ", element));
  }
  return bytes->data();
}

void SegmentFile::AdviseRandom(std::string_view name) const {
  const Entry* entry = Find(name);
  if (!mapped_ || entry == nullptr || entry->length == 0) return;
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = entry->offset / page * page;
  madvise(const_cast<std::byte*>(data_) + first, entry->offset + entry->length - first,
          MADV_RANDOM);
}

}  // namespace vecino::index
