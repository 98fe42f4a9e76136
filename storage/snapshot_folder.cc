#include "storage/snapshot_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/crc32c.h"

namespace vecino::storage {
namespace {

namespace fs = std::filesystem;

constexpr char kTemporary[] = ".tmp";
constexpr char kManifestName[] = "MANIFEST";
constexpr size_t kPieceBytes = 1u << 20;
constexpr size_t kLongestId = 63;

absl::Status FileError(std::string_view doing, const std::string& path, int error) {
  const std::string message =
      absl::StrCat(std::string(doing), " ", path, ": ", std::generic_category().message(error));
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(absl::StrCat(message, "; free disk space and try again"));
  }
  return absl::UnavailableError(message);
}

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags)
      : fd_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status SyncFolder(const std::string& path) {
  const Descriptor folder(path, O_RDONLY | O_DIRECTORY);
  if (folder.get() < 0 || fsync(folder.get()) != 0) {
    return FileError("syncing the folder", path, errno);
  }
  return absl::OkStatus();
}

absl::Status WriteSynced(const std::string& path, std::string_view bytes) {
  const Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (file.get() < 0) return FileError("making the file", path, errno);
  while (!bytes.empty()) {
    const ssize_t written = write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return FileError("writing the file", path, written < 0 ? errno : ENOSPC);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (fsync(file.get()) != 0) return FileError("syncing the file", path, errno);
  return absl::OkStatus();
}

// All of the file. UNAVAILABLE also where a stream of the standard library would throw.
absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  const Descriptor file(path, O_RDONLY);
  if (file.get() < 0) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("there is no file ", path));
    return FileError("opening the file", path, errno);
  }
  std::string bytes;
  char piece[1 << 16];
  while (true) {
    const ssize_t got = read(file.get(), piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("reading the file", path, errno);
    if (got == 0) return bytes;
    bytes.append(piece, static_cast<size_t>(got));
  }
}

// Other names are nobody's snapshot, be it `..` or the `lost+found` of a disk of its own.
bool IsId(std::string_view id) {
  return !id.empty() && id.size() <= kLongestId && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_';
  });
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return FileError("renaming the folder", from, errno);
}

absl::Status NoSnapshot(std::string_view id) {
  return absl::NotFoundError(absl::StrCat("there is no snapshot `", std::string(id), "`"));
}

// A status of the manifest with the file's name and what to do.
absl::Status OfManifest(const std::string& path, const absl::Status& status) {
  return absl::Status(
      status.code(),
      absl::StrCat(path, ": ", status.message(),
                   absl::IsDataLoss(status) ? "; the snapshot cannot be restored: delete it" : ""));
}

}  // namespace

SnapshotFolder::SnapshotFolder(std::string path) : path_(std::move(path)) {}

std::string SnapshotFolder::PathOf(std::string_view id) const {
  return absl::StrCat(path_, "/", std::string(id));
}

absl::Status SnapshotFolder::Open() {
  std::error_code error;
  if (fs::create_directories(path_, error)) {
    const std::string parent = fs::absolute(fs::path(path_) / "..", error).lexically_normal();
    if (absl::Status status = SyncFolder(parent); !status.ok()) return status;
  }
  if (error) return FileError("making the folder", path_, error.value());
  std::vector<fs::path> left;
  for (fs::directory_iterator at(path_, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == kTemporary) left.push_back(at->path());
  }
  for (const fs::path& path : left) {
    if (!error) fs::remove_all(path, error);
  }
  if (error) return FileError("clearing the folder", path_, error.value());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> SnapshotFolder::List() const {
  std::vector<std::string> ids;
  std::error_code error;
  for (fs::directory_iterator at(path_, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    std::string id = at->path().filename().string();
    if (IsId(id) && at->is_directory(gone)) ids.push_back(std::move(id));
  }
  if (error) return FileError("listing the folder", path_, error.value());
  std::sort(ids.begin(), ids.end());
  return ids;
}

bool SnapshotFolder::Contains(std::string_view id) const {
  std::error_code error;
  return IsId(id) && fs::is_directory(PathOf(id), error);
}

absl::StatusOr<SnapshotManifest> SnapshotFolder::Read(std::string_view id) const {
  if (!Contains(id)) return NoSnapshot(id);
  const std::string path = absl::StrCat(PathOf(id), "/", kManifestName);
  const absl::StatusOr<std::string> bytes = ReadWhole(path);
  if (absl::IsNotFound(bytes.status())) {
    if (!Contains(id)) return NoSnapshot(id);  // deleted meanwhile
    return OfManifest(path, absl::DataLossError("the file is missing"));
  }
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<SnapshotManifest> manifest = DecodeSnapshotManifest(*bytes);
  if (!manifest.ok()) return OfManifest(path, manifest.status());
  return manifest;
}

absl::StatusOr<std::string> SnapshotFolder::Begin(std::string_view id) {
  if (!IsId(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the id of a snapshot is 1 to ", kLongestId, " letters, digits, - and _"));
  }
  if (Contains(id)) {
    return absl::AlreadyExistsError(absl::StrCat("snapshot `", std::string(id),
                                                 "` exists already; take another id or delete it"));
  }
  std::string folder = PathOf(id) + kTemporary;
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) fs::create_directory(folder, error);
  if (error) return FileError("making the folder", folder, error.value());
  return folder;
}

absl::Status SnapshotFolder::Publish(std::string_view id, const SnapshotManifest& manifest) {
  const std::string folder = PathOf(id) + kTemporary;
  absl::Status status =
      WriteSynced(absl::StrCat(folder, "/", kManifestName), EncodeSnapshotManifest(manifest));
  if (status.ok()) status = SyncFolder(folder);
  if (status.ok()) status = Rename(folder, PathOf(id));
  if (!status.ok()) return status;
  status = SyncFolder(path_);
  // Not known to be durable, so it is none.
  if (!status.ok()) Rename(PathOf(id), folder).IgnoreError();
  return status;
}

void SnapshotFolder::Abandon(std::string_view id) {
  std::error_code error;
  fs::remove_all(PathOf(id) + kTemporary, error);
}

absl::Status SnapshotFolder::Delete(std::string_view id) {
  const std::string folder = PathOf(id) + kTemporary;
  std::error_code error;
  const bool there = Contains(id);
  // One that an earlier call could rename, but not remove, takes space yet.
  if (!there && !(IsId(id) && fs::is_directory(folder, error))) return NoSnapshot(id);
  absl::Status status;
  if (there) {
    fs::remove_all(folder, error);
    if (error) return FileError("removing the folder", folder, error.value());
    status = Rename(PathOf(id), folder);
  }
  // Before any file goes: it must not come back without them.
  if (status.ok()) status = SyncFolder(path_);
  if (!status.ok()) return status;
  fs::remove_all(folder, error);
  if (error) return FileError("removing the folder", folder, error.value());
  return absl::OkStatus();
}

absl::Status SnapshotFolder::CheckFile(std::string_view id, const SnapshotFile& file,
                                       const SnapshotProgressFn& progress) const {
  const std::string path = absl::StrCat(PathOf(id), "/", file.name);
  const absl::StatusOr<FileDigest> digest = DigestFile(path, progress);
  if (!digest.ok() && !absl::IsNotFound(digest.status())) return digest.status();
  std::string why;
  if (!digest.ok()) {
    if (!Contains(id)) return NoSnapshot(id);  // deleted meanwhile
    why = "the file is missing";
  } else if (digest->bytes != file.bytes) {
    why = absl::StrCat("the file has ", digest->bytes, " bytes, it had ", file.bytes);
  } else if (digest->crc32c != file.crc32c) {
    why = "the file's checksum is wrong";
  } else {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      path, ": ", why, "; the snapshot cannot be restored: take another one, and delete this"));
}

absl::StatusOr<FileDigest> DigestFile(const std::string& path, const SnapshotProgressFn& progress) {
  const Descriptor file(path, O_RDONLY);
  if (file.get() < 0) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("there is no file ", path));
    return FileError("opening the file", path, errno);
  }
  // Rather what the disk has than what the kernel remembers of it; best effort.
  posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  FileDigest digest;
  const auto piece = std::make_unique<char[]>(kPieceBytes);
  while (true) {
    const ssize_t got = read(file.get(), piece.get(), kPieceBytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("reading the file", path, errno);
    if (got == 0) break;
    const auto bytes = static_cast<size_t>(got);
    digest.crc32c = ExtendCrc32c(digest.crc32c, {piece.get(), bytes});
    digest.bytes += bytes;
    if (progress == nullptr) continue;
    if (absl::Status status = progress(0, bytes); !status.ok()) return status;
  }
  // What was read once shall not take the place of what searches need.
  posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  return digest;
}

}  // namespace vecino::storage
