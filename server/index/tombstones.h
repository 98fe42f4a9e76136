// One bit per slot: this row was deleted or replaced.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace vecino::index {

// Invariants:
//  T1. A bit goes from 0 to 1 once and never back.
//  T2. Kill is a release and every read an acquire: who sees a row dead also sees everything its
//      killer did before, above all the row that takes its place.
//
// Thread safety: Kill from one thread at a time, the rest from any thread. Nothing blocks.
class Tombstones {
 public:
  explicit Tombstones(int64_t slots)
      : slots_(slots), words_(new std::atomic<uint64_t>[word_count()]()) {}

  int64_t slots() const { return slots_; }
  size_t word_count() const { return static_cast<size_t>((slots_ + 63) / 64); }

  // Marks the row dead; false when it was already.
  bool Kill(int64_t slot) {
    const uint64_t bit = uint64_t{1} << (slot % 64);
    if (words_[slot / 64].fetch_or(bit, std::memory_order_acq_rel) & bit) return false;
    dead_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  bool IsDead(int64_t slot) const { return (word(slot / 64) >> (slot % 64)) & 1; }

  // Bits of slots [64 · i, 64 · i + 64), lowest slot in the lowest bit.
  uint64_t word(size_t i) const { return words_[i].load(std::memory_order_acquire); }

  // Number of dead rows.
  int64_t dead() const { return dead_.load(std::memory_order_relaxed); }

  std::vector<uint64_t> Snapshot() const {
    std::vector<uint64_t> words(word_count());
    for (size_t i = 0; i < words.size(); ++i) words[i] = word(i);
    return words;
  }

 private:
  const int64_t slots_;
  const std::unique_ptr<std::atomic<uint64_t>[]> words_;
  std::atomic<int64_t> dead_{0};
};

}  // namespace vecino::index
