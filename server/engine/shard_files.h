// Where a shard's index files stand, and which numbers they have.
#pragma once

#include <atomic>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace vecino::engine {

// The folder `<index folder>/<collection uid>/<shard>` with files `generation-N`, `segment-N`,
// `graph-N` and `fields-N`. All of it is a cache of the store: deleting it is safe. Thread safe but
// for Open.
class ShardFiles {
 public:
  // folder: "" keeps everything in memory; every path is "" then.
  explicit ShardFiles(std::string folder) : folder_(std::move(folder)) {}

  // Makes the folder. next: where numbers go on.
  absl::Status Open(uint64_t next);

  bool in_memory() const { return folder_.empty(); }
  uint64_t Next() { return next_.fetch_add(1); }  // a number never used before
  uint64_t next() const { return next_.load(); }  // the one Next would give

  std::string Generation(uint64_t number) const { return Path("generation-", number); }
  std::string Segment(uint64_t number) const { return Path("segment-", number); }
  std::string Graph(uint64_t number) const { return Path("graph-", number); }
  std::string Fields(uint64_t number) const { return Path("fields-", number); }
  // For as long as an export is written; no manifest names it.
  std::string Export(uint64_t number) const { return Path("export-", number); }

  // Deletes one file; everything in the folder but `keep`. Files that are still mapped go on
  // serving. Blocks on the disk; best effort.
  void Delete(const std::string& path) const;
  void DeleteAllBut(const std::set<std::string>& keep) const;

 private:
  std::string Path(const char* prefix, uint64_t number) const;

  const std::string folder_;
  std::atomic<uint64_t> next_{1};
};

}  // namespace vecino::engine
