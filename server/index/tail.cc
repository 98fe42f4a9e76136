#include "server/index/tail.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <utility>

#include "server/index/distance.h"

namespace vecino::index {

Tail::Tail(Metric metric, int dimension, int capacity)
    : metric_(metric),
      dimension_(static_cast<size_t>(dimension)),
      capacity_(capacity),
      chunks_(static_cast<size_t>((capacity + kChunkRows - 1) / kChunkRows)),
      tombstones_(capacity) {}

int64_t Tail::bytes() const {
  const int64_t chunks = (size() + kChunkRows - 1) / kChunkRows;
  return chunks * kChunkRows * static_cast<int64_t>(dimension_ * sizeof(float) + sizeof(uint64_t));
}

void Tail::Append(uint64_t label, const float* vector) {
  const int slot = size_.load(std::memory_order_relaxed);
  assert(slot < capacity_);
  assert(slot == 0 || this->label(slot - 1) < label);
  Chunk& chunk = chunks_[slot / kChunkRows];
  if (chunk.rows == nullptr) {
    chunk.rows = std::make_unique_for_overwrite<float[]>(kChunkRows * dimension_);
    chunk.labels = std::make_unique_for_overwrite<uint64_t[]>(kChunkRows);
  }
  chunk.labels[slot % kChunkRows] = label;
  std::memcpy(chunk.rows.get() + static_cast<size_t>(slot % kChunkRows) * dimension_, vector,
              dimension_ * sizeof(float));
  size_.store(slot + 1, std::memory_order_release);  // A2
}

int Tail::FindSlot(uint64_t label) const {
  int low = 0, high = size();
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (this->label(middle) < label) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < size() && this->label(low) == label ? low : -1;
}

void Tail::Search(const float* query, TopK* top) const {
  const std::vector<uint64_t> dead = tombstones_.Snapshot();  // A4: before size()
  const int rows = size();
  std::array<float, kChunkRows> scores;
  for (int first = 0; first < rows; first += kChunkRows) {
    const int n = std::min(kChunkRows, rows - first);
    Score(metric_, query, vector(first), dimension_, n, scores.data());
    for (int i = 0; i < n; ++i) {
      const int slot = first + i;
      if ((dead[slot / 64] >> (slot % 64) & 1) == 0) top->Push(label(slot), scores[i]);
    }
  }
}

void Tail::Link(std::shared_ptr<const Tail> next) {
  assert(next_owner_ == nullptr);
  next_owner_ = std::move(next);
  next_.store(next_owner_.get(), std::memory_order_release);
}

}  // namespace vecino::index
