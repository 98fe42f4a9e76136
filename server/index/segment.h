// The seam behind which every kind of index stands.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "server/index/metric.h"
#include "server/index/search_params.h"
#include "server/index/segment_kind.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"

namespace vecino::index {

class SegmentFile;

// Memory of one part, by where it is and how often it is read, in bytes.
struct MemoryUse {
  int64_t codes = 0;    // product codes and links: read by every search
  int64_t rounded = 0;  // 8-bit rows and their scales: read by reranks and graphs
  int64_t vectors = 0;  // floats: read for the last few candidates, by merges and by exact search
  int64_t labels = 0;   // labels, order, list tables
  int64_t mapped = 0;   // of the sum of these, what is mapped from a file: the kernel may drop it,
                        // unless SegmentFile::KeepInMemory says otherwise

  int64_t total() const { return codes + rounded + vectors + labels; }
  MemoryUse& operator+=(const MemoryUse& other);
};

// An immutable set of rows. Which of them are dead is kept beside it, in Tombstones of the same
// number of slots, because the same segment may stand in several views.
//
// Invariants:
//  S1. Labels are unique. InLabelOrder lists the slots by ascending label.
//  S2. Nothing changes after construction, so every method is safe from any thread and none blocks
//      on another. Page faults of a mapped file aside, none blocks at all.
class Segment {
 public:
  Segment();
  virtual ~Segment() = default;

  // The same for two segments of this process only when they have the same rows in the same slots;
  // for caches.
  uint64_t id() const { return id_; }

  virtual SegmentKind kind() const = 0;
  virtual Metric metric() const = 0;
  virtual int dimension() const = 0;
  virtual int64_t size() const = 0;  // rows; at least 1
  virtual MemoryUse memory() const = 0;

  // slot: 0 to size() - 1.
  virtual uint64_t label(int64_t slot) const = 0;
  // The row as it was added: dimension() floats, valid as long as the segment. For merges and
  // reranks.
  virtual const float* vector(int64_t slot) const = 0;

  // The slot with this label, -1 for none.
  virtual int64_t FindSlot(uint64_t label) const = 0;
  // The slot of the i-th lowest label, i from 0 to size() - 1.
  virtual int64_t InLabelOrder(int64_t i) const { return i; }
  uint64_t first_label() const { return label(InLabelOrder(0)); }
  uint64_t last_label() const { return label(InLabelOrder(size() - 1)); }

  // Pushes the rows nearest to `query` (dimension() floats) that are not dead and, unless `allowed`
  // is null, whose bit in it is set (as RowFilter). Scores are those of the floats. An index that
  // approximates pushes fewer than all; see SearchParams.
  virtual absl::Status Search(const float* query, const SearchParams& params,
                              const Tombstones& dead, const uint64_t* allowed, TopK* top) const = 0;

  // The file it is mapped from; null when it is in memory only.
  virtual std::shared_ptr<const SegmentFile> file() const { return nullptr; }

 private:
  uint64_t id_;
};

}  // namespace vecino::index
