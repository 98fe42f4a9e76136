#include "client/cli/input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vecino::cli {

Result<std::unique_ptr<Input>> Input::Open(const std::string& path, const std::atomic<bool>* stop) {
  const int fd = path == "-" ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return Status(Code::kInvalidArgument, "cannot open " + path + ": " + std::strerror(errno));
  }
  struct stat info {};
  const bool known = fstat(fd, &info) == 0;
  if (known && S_ISDIR(info.st_mode)) {
    if (fd != STDIN_FILENO) close(fd);
    return Status(Code::kInvalidArgument, path + " is a folder");
  }
  const int64_t size = known && S_ISREG(info.st_mode) ? info.st_size : -1;
  return std::unique_ptr<Input>(new Input(fd, size, stop));
}

Input::Input(int fd, int64_t size, const std::atomic<bool>* stop)
    : fd_(fd), size_(size), stop_(stop), buffer_(256 * 1024) {}

Input::~Input() {
  if (fd_ != STDIN_FILENO) close(fd_);
}

bool Input::Fill() {
  while (!stop_->load()) {
    const ssize_t got = read(fd_, buffer_.data(), buffer_.size());
    if (got > 0) {
      begin_ = 0;
      end_ = static_cast<size_t>(got);
      return true;
    }
    if (got == 0) return false;
    if (errno == EINTR) continue;  // the handler of Ctrl-C has set *stop_
    status_ = Status(Code::kDataLoss, std::string("reading failed: ") + std::strerror(errno));
    return false;
  }
  return false;
}

Input::Outcome Input::ReadLine(size_t limit, std::string* line, const Watch& watch) {
  line->clear();
  bool too_long = false;
  bool any = false;
  while (begin_ < end_ || Fill()) {
    any = true;
    const char* start = buffer_.data() + begin_;
    const auto* newline = static_cast<const char*>(std::memchr(start, '\n', end_ - begin_));
    const size_t length = newline != nullptr ? newline - start : end_ - begin_;
    too_long = too_long || line->size() + length > limit;
    if (!too_long) line->append(start, length);
    if (watch) watch({start, length});
    const size_t consumed = length + (newline != nullptr ? 1 : 0);
    begin_ += consumed;
    offset_ += static_cast<int64_t>(consumed);
    if (newline != nullptr) return too_long ? Outcome::kTooLong : Outcome::kOk;
  }
  // A line that Ctrl-C or an error cut short is no line.
  if (!any || stop_->load() || !status_.ok()) return Outcome::kEnd;
  return too_long ? Outcome::kTooLong : Outcome::kOk;
}

size_t Input::Read(char* data, size_t size) {
  size_t done = 0;
  while (done < size && (begin_ < end_ || Fill())) {
    const size_t part = std::min(size - done, end_ - begin_);
    std::memcpy(data + done, buffer_.data() + begin_, part);
    begin_ += part;
    done += part;
  }
  offset_ += static_cast<int64_t>(done);
  return done;
}

Result<int64_t> CountLines(const std::string& path, const std::atomic<bool>* stop) {
  Result<std::unique_ptr<Input>> input = Input::Open(path, stop);
  if (!input.ok()) return input.status();
  std::string line;
  int64_t lines = 0;
  while ((*input)->ReadLine(0, &line) != Input::Outcome::kEnd) ++lines;
  if (!(*input)->status().ok()) return (*input)->status();
  return lines;
}

}  // namespace vecino::cli
