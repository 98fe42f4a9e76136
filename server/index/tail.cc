#include "server/index/tail.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/distance.h"
#include "server/index/search_report.h"

namespace vecino::index {
namespace {

constexpr int kFewRows = 128;  // up to here rounding the query is not worth it, measured at d = 384

void Tell(int rows, SearchReport* report) {
  report->Part(rows, 1, true);
  report->scanned += rows;
  if (report->words != nullptr && rows > 0) {
    report->words->push_back(absl::StrCat("a tail of ", rows, " rows: all"));
  }
}

}  // namespace

Tail::Tail(Metric metric, int dimension, int capacity)
    : metric_(metric),
      dimension_(static_cast<size_t>(dimension)),
      capacity_(capacity),
      chunks_(static_cast<size_t>((capacity + kChunkRows - 1) / kChunkRows)),
      tombstones_(capacity) {}

int64_t Tail::bytes() const {
  const int64_t chunks = (size() + kChunkRows - 1) / kChunkRows;
  size_t chunk_bytes = kChunkRows * (dimension_ * sizeof(float) + sizeof(uint64_t));
  if (BoundedScan::Pays(dimension_)) chunk_bytes += RoundedRows::Bytes(metric_, dimension_);
  return chunks * static_cast<int64_t>(chunk_bytes);
}

void Tail::Append(uint64_t label, const float* vector) {
  const int slot = size_.load(std::memory_order_relaxed);
  assert(slot < capacity_);
  assert(slot == 0 || this->label(slot - 1) < label);
  Chunk& chunk = chunks_[slot / kChunkRows];
  if (chunk.rows == nullptr) {
    chunk.rows = std::make_unique_for_overwrite<float[]>(kChunkRows * dimension_);
    chunk.labels = std::make_unique_for_overwrite<uint64_t[]>(kChunkRows);
    if (BoundedScan::Pays(dimension_)) {
      chunk.rounded = std::make_unique<RoundedRows>(metric_, dimension_);
    }
  }
  chunk.labels[slot % kChunkRows] = label;
  std::memcpy(chunk.rows.get() + static_cast<size_t>(slot % kChunkRows) * dimension_, vector,
              dimension_ * sizeof(float));
  if (chunk.rounded != nullptr) chunk.rounded->Set(slot % kChunkRows, vector);
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

void Tail::Search(const float* query, const RowFilter* filter, TopK* top,
                  SearchReport* report) const {
  std::vector<uint64_t> dead = tombstones_.Snapshot();  // A4: before size()
  const SlotBits allowed = filter == nullptr ? SlotBits{} : filter->OfTail(*this);
  int rows = size();
  if (allowed.words != nullptr) {
    rows = static_cast<int>(std::min<int64_t>(rows, allowed.slots));
    for (int word = 0; word * 64 < rows; ++word) dead[word] |= ~allowed.words[word];
  }
  if (BoundedScan::Pays(dimension_) && rows > kFewRows && static_cast<size_t>(rows) > top->k()) {
    const size_t scored = SearchRounded(query, dead, rows, top);
    if (report != nullptr) {
      Tell(rows, report);
      report->rescored += static_cast<int64_t>(scored);
    }
    return;
  }
  if (report != nullptr) Tell(rows, report);
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

size_t Tail::SearchRounded(const float* query, const std::vector<uint64_t>& dead, int rows,
                           TopK* top) const {
  BoundedScan scan;
  scan.Start(query, dimension_, *top);
  std::array<uint64_t, kChunkRows / 64> live;
  for (int first = 0; first < rows; first += kChunkRows) {
    const int n = std::min(kChunkRows, rows - first);
    for (int word = 0; word * 64 < n; ++word) live[word] = ~dead[first / 64 + word];
    chunk(first).rounded->Scan(&scan, n, live.data(), first);
  }
  scan.Finish([this](uint64_t slot) { return vector(static_cast<int>(slot)); },
              [this](uint64_t slot) { return label(static_cast<int>(slot)); }, top);
  return scan.scored_exactly();
}

void Tail::Link(std::shared_ptr<const Tail> next) {
  assert(next_owner_ == nullptr);
  next_owner_ = std::move(next);
  linked_at_ = std::chrono::steady_clock::now();
  next_.store(next_owner_.get(), std::memory_order_release);
}

std::chrono::nanoseconds Tail::SinceLink() const {
  if (next() == nullptr) return std::chrono::nanoseconds::zero();
  return std::chrono::steady_clock::now() - linked_at_;
}

}  // namespace vecino::index
