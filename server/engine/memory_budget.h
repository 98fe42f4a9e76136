// How much memory indexes may take, and how much a build will.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "server/index/segment_kind.h"

namespace vecino::engine {

// Bytes an index of `rows` rows of `dimension` needs in memory beside its floats, which are mapped
// from a file and may be dropped by the kernel (FLAT in memory: including them). Within 15% of what
// is measured.
int64_t PredictIndexBytes(index::SegmentKind kind, const index::IndexSpec& spec, int64_t rows,
                          int dimension, bool graph);

// Bytes a build works with besides what it makes.
int64_t PredictBuildBytes(index::SegmentKind kind, int64_t rows, int dimension,
                          int64_t sample_rows);

// Bytes that a retrain of AUTO takes at its peak beside what is there, floats in mapped files left
// out, with so many threads. Within 15% of what is measured (retrain_memory_test).
int64_t PredictRetrainBytes(const index::IndexSpec& spec, int64_t rows, int dimension, int threads);

// Memory that this process may use, in bytes: the machine's, or the limit of its cgroup if that is
// lower.
int64_t MachineMemory();

// One for the whole server. Thread safe, never blocks.
class MemoryBudget {
 public:
  // limit: bytes; 0: none.
  explicit MemoryBudget(int64_t limit) : limit_(limit) {}

  // Sets `bytes` aside until Release. RESOURCE_EXHAUSTED with the numbers when they do not fit.
  // what: for the message.
  absl::Status Reserve(int64_t bytes, std::string_view what);
  void Release(int64_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  // Counts what is there anyway, such as tails and segments after a start.
  void Add(int64_t bytes) { used_.fetch_add(bytes, std::memory_order_relaxed); }

  // Whether so many bytes of a cache, which is not counted, fit beside what is.
  bool HasRoomFor(int64_t bytes) const { return limit_ == 0 || used() + bytes <= limit_; }

  int64_t used() const { return used_.load(std::memory_order_relaxed); }
  int64_t limit() const { return limit_; }

 private:
  const int64_t limit_;
  std::atomic<int64_t> used_{0};
};

}  // namespace vecino::engine
