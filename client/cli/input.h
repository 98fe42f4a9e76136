// A file or stdin, read forwards in constant memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vecino/client.h"

namespace vecino::cli {

// Not thread-safe, except that `stop` may be set by a signal handler: reading then ends as at the
// end of the file.
class Input {
 public:
  enum class Outcome { kOk, kTooLong, kEnd };

  // `path`, or stdin for `-`. INVALID_ARGUMENT when it cannot be opened. `stop` must outlive the
  // Input.
  static Result<std::unique_ptr<Input>> Open(const std::string& path,
                                             const std::atomic<bool>* stop);
  ~Input();
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  // The next line without its LF; the last may lack one. kTooLong when it has more than `limit`
  // bytes: the rest of it is skipped. kEnd at the end, after an error, or after `stop`.
  // `watch` gets all of the line in order, piece by piece, also what is skipped.
  using Watch = std::function<void(std::string_view piece)>;
  Outcome ReadLine(size_t limit, std::string* line, const Watch& watch = nullptr);

  // `size` bytes, or fewer at the end; returns how many.
  size_t Read(char* data, size_t size);

  int64_t size() const { return size_; }            // -1 when unknown
  int64_t offset() const { return offset_; }        // bytes given out so far
  const Status& status() const { return status_; }  // why reading ended early, if it did

 private:
  Input(int fd, int64_t size, const std::atomic<bool>* stop);
  bool Fill();  // false at the end

  const int fd_;
  const int64_t size_;
  const std::atomic<bool>* const stop_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // unread part of buffer_
  int64_t offset_ = 0;
  Status status_;
};

// Lines of the file at `path`. INVALID_ARGUMENT when it cannot be read. Blocks; `stop` ends it
// early.
Result<int64_t> CountLines(const std::string& path, const std::atomic<bool>* stop);

}  // namespace vecino::cli
