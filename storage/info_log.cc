#include "storage/info_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace vecino::storage {
namespace {

constexpr size_t kMaxLineBytes = 4096;

}  // namespace

InfoLog::InfoLog(std::string path, uint64_t max_bytes)
    : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), path_(std::move(path)), max_bytes_(max_bytes) {}

InfoLog::~InfoLog() {
  absl::MutexLock lock(&mutex_);
  CloseFile();
}

void InfoLog::Logv(const char* format, va_list arguments) {
  char text[kMaxLineBytes];
  const int length = std::vsnprintf(text, sizeof text, format, arguments);
  if (length <= 0) return;
  std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ ", absl::Now(), absl::UTCTimeZone()),
                   std::string(text, std::min<size_t>(length, sizeof text - 1)));
  if (!line.ends_with('\n')) line += '\n';

  absl::MutexLock lock(&mutex_);
  if (fd_ < 0) OpenFile();
  if (fd_ >= 0 && bytes_ >= max_bytes_) {
    CloseFile();
    // Where even that fails, no line may be added: the file must not grow without bound.
    if (std::rename(path_.c_str(), absl::StrCat(path_, ".old").c_str()) != 0) return;
    OpenFile();
  }
  if (fd_ < 0) return;
  const ssize_t written = write(fd_, line.data(), line.size());
  if (written > 0) bytes_ += static_cast<uint64_t>(written);
}

void InfoLog::OpenFile() {
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  struct stat info;
  bytes_ = fd_ >= 0 && fstat(fd_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

void InfoLog::CloseFile() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

}  // namespace vecino::storage
