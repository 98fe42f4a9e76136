#include "server/engine/index_export.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace vecino::engine {

absl::StatusOr<UnnamedFile> UnnamedFile::Take(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || fstat(fd, &info) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    unlink(path.c_str());
    return absl::UnavailableError(
        absl::StrCat("cannot open the exported index file ", path, ": ", std::strerror(error)));
  }
  unlink(path.c_str());
  return UnnamedFile(fd, info.st_size);
}

UnnamedFile::~UnnamedFile() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::string> UnnamedFile::Read(int64_t offset, size_t count) const {
  const int64_t left = std::max<int64_t>(size_ - offset, 0);
  std::string bytes(static_cast<size_t>(std::min<int64_t>(left, static_cast<int64_t>(count))),
                    '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = pread(fd_, bytes.data() + done, bytes.size() - done,
                              static_cast<off_t>(offset + static_cast<int64_t>(done)));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot read the exported index file at byte ", offset, ": ",
                       got < 0 ? std::strerror(errno) : "it is shorter than it was"));
    }
    done += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace vecino::engine
