// RocksDB's own log of warnings and errors, the file LOG in the store's folder.
//
// RocksDB's logger must not be used: where RocksDB is built with assertions, as Debian's is, it
// ends the process at the first line after one that could not be written, so on every full disk.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/env.h"

namespace vecino::storage {

// A line that cannot be written is dropped. A file beyond `max_bytes` becomes LOG.old, in place of
// the one before. Thread-safe.
class InfoLog : public rocksdb::Logger {
 public:
  static constexpr uint64_t kMaxBytes = 4u << 20;

  // The file is made with the first line.
  explicit InfoLog(std::string path, uint64_t max_bytes = kMaxBytes);
  ~InfoLog() override;

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override;

 private:
  void OpenFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const uint64_t max_bytes_;
  absl::Mutex mutex_;
  int fd_ ABSL_GUARDED_BY(mutex_) = -1;
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vecino::storage
