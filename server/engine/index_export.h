// One shard's index as a FAISS index file with the ids of its rows, to be sent to a caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/types.h"

namespace vecino::engine {

struct ExportRequest {
  int shard = 0;
  // Keep full vectors beside an index that approximates, so that FAISS's scores are exact. FLAT,
  // IVF_FLAT and HNSW have them in any case.
  bool vectors = true;
};

// A file that has no name any more: it is gone from the disk when this is. Thread safe.
class UnnamedFile {
 public:
  // Opens `path` and unlinks it. UNAVAILABLE, naming the file.
  static absl::StatusOr<UnnamedFile> Take(const std::string& path);
  UnnamedFile(UnnamedFile&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}
  UnnamedFile& operator=(UnnamedFile&&) = delete;
  ~UnnamedFile();

  int64_t size() const { return size_; }
  // `count` bytes from `offset` on, or as many as are left. UNAVAILABLE when the disk fails.
  // Blocks.
  absl::StatusOr<std::string> Read(int64_t offset, size_t count) const;

 private:
  UnnamedFile(int fd, int64_t size) : fd_(fd), size_(size) {}
  int fd_;
  int64_t size_;
};

// What Shard::Export makes.
struct ShardExport {
  UnnamedFile file;
  std::vector<std::string> ids;  // of documents, by FAISS id (0, 1, …): never empty strings
  std::string description;       // as index::ExportedIndex has it
};

// What Engine::ExportIndex makes. Immutable. While it lives its collection has no other.
struct IndexExport {
  CollectionSpec spec;
  int shard = 0;
  ShardExport content;
  std::shared_ptr<const void> place;  // among the collection's exports
};

}  // namespace vecino::engine
