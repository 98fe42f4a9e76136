// The newest rows of a shard, searched exactly.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "server/index/metric.h"
#include "server/index/rounded_rows.h"
#include "server/index/search_params.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"

namespace vecino::index {

// Rows in the order they were written, up to a fixed number. From 32 dimensions on they are
// kept as 8 bits, too, which a search reads first; its hits are those of the floats all the same.
//
// Invariants:
//  A1. Rows are only appended, by one thread at a time; labels ascend strictly.
//  A2. A row is whole before size() counts it (release), and whoever reads size() (acquire) may
//  read
//      every row below it. No row changes afterwards; only its tombstone does.
//  A3. Link() happens before the first row of the next tail is appended: whoever sees a tombstone
//  set
//      because of a row in a later tail can reach that tail through next().
//  A4. A search reads the tombstones before size(), and both before next(). With T2 it follows that
//      a search which finds a version dead finds the version that replaced it.
//
// Thread safety: Append, Kill and Link from one thread at a time; the rest from any. Nothing
// blocks.
class Tail {
 public:
  // capacity: rows, at least 1. Memory is taken as rows arrive.
  Tail(Metric metric, int dimension, int capacity);

  bool full() const { return size() == capacity_; }
  // Rows so far, the dead ones included.
  int size() const { return size_.load(std::memory_order_acquire); }
  int64_t dead() const { return tombstones_.dead(); }
  int64_t bytes() const;

  // Adds a row. vector: `dimension` floats, copied. Neither full() nor a label out of order.
  void Append(uint64_t label, const float* vector);

  // slot: 0 to size() - 1.
  uint64_t label(int slot) const { return chunk(slot).labels[slot % kChunkRows]; }
  const float* vector(int slot) const {
    return chunk(slot).rows.get() + static_cast<size_t>(slot % kChunkRows) * dimension_;
  }

  // The slot with this label, -1 for none.
  int FindSlot(uint64_t label) const;

  bool Kill(int slot) { return tombstones_.Kill(slot); }
  const Tombstones& tombstones() const { return tombstones_; }

  // Pushes the rows of this tail that are not dead and that `filter`, unless null, lets pass; it is
  // asked after the tombstones were read, so that A4 holds for the rows that it knows of. query:
  // `dimension` floats. report: told of it, unless null.
  void Search(const float* query, const RowFilter* filter, TopK* top,
              SearchReport* report = nullptr) const;

  // The tail that took the rows after this one was full; null while this is the newest.
  const Tail* next() const { return next_.load(std::memory_order_acquire); }
  void Link(std::shared_ptr<const Tail> next);
  // How long ago that was, 0 while there is no next.
  std::chrono::nanoseconds SinceLink() const;

 private:
  // A multiple of 64, so that tombstone words do not straddle.
  static constexpr int kChunkRows = RoundedRows::kRows;

  struct Chunk {
    std::unique_ptr<float[]> rows;
    std::unique_ptr<uint64_t[]> labels;
    std::unique_ptr<RoundedRows> rounded;  // null where it would not pay
  };
  const Chunk& chunk(int slot) const { return chunks_[slot / kChunkRows]; }
  // How many rows it scored by their floats, too.
  size_t SearchRounded(const float* query, const std::vector<uint64_t>& dead, int rows,
                       TopK* top) const;

  const Metric metric_;
  const size_t dimension_;
  const int capacity_;
  std::vector<Chunk> chunks_;  // never resized; a chunk is made before size() reaches into it
  std::atomic<int> size_{0};
  Tombstones tombstones_;
  std::shared_ptr<const Tail> next_owner_;           // written once, read by the destructor only
  std::chrono::steady_clock::time_point linked_at_;  // written once, before next_
  std::atomic<const Tail*> next_{nullptr};
};

}  // namespace vecino::index
