// The index of one shard's documents by their fields: what is written goes in here, filters read
// from here.
//
// It stands beside the index of vectors and has a row for every document, also for one without a
// vector. Both know a document by its label, the sequence number of the write that made it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/fields/segment.h"
#include "server/index/tombstones.h"

namespace vecino::fields {

// The newest documents, up to kRows of them, kept as rows. Appended to by one thread at a time; a
// reader sees those below size(), which is read with acquire.
class OpenChunk {
 public:
  static constexpr int kRows = 256;

  int size() const { return size_.load(std::memory_order_acquire); }
  bool full() const { return size() == kRows; }
  uint64_t label(int i) const { return labels_[static_cast<size_t>(i)]; }
  const Row& row(int i) const { return rows_[static_cast<size_t>(i)]; }
  const index::Tombstones& dead() const { return dead_; }

  void Append(uint64_t label, Row row);
  bool Kill(uint64_t label);  // false when it is not here or dead already

 private:
  std::array<uint64_t, kRows> labels_;
  std::array<Row, kRows> rows_;
  index::Tombstones dead_{kRows};
  std::atomic<int> size_{0};
};

// A segment with its tombstones and the number of its file.
struct FieldPart {
  std::shared_ptr<const FieldSegment> segment;
  std::shared_ptr<index::Tombstones> dead;
  uint64_t file = 0;  // 0: it has none
};

// What one reader looks at. Never changes, except that tombstones are set and the chunk grows.
struct FieldView {
  std::vector<FieldPart> parts;  // labels ascend from one to the next
  std::shared_ptr<const OpenChunk> chunk;
};

// Invariants:
//  F1. A label stands in one row of the current view at most, and labels ascend through parts and
//  chunk. F2. A view pinned after Add returned has the row, or the row was removed. F3. A tombstone
//  is set in the current view only; what a merge missed is taken over when it is published.
//
// Thread safety: readers call Pin from any thread; everything else is writing, one call at a time:
// the caller holds a lock for it (the shard's). No method but MergeWork::Run and those of
// FieldSegment takes long.
class FieldIndex {
 public:
  FieldIndex();

  // label: higher than any before; one that is not is taken as done already, so that a log can be
  // replayed. When the chunk is full it becomes a segment (some hundred microseconds).
  void Add(uint64_t label, Row row);
  // False when there is no such row or it is dead already.
  bool Remove(uint64_t label);

  std::shared_ptr<const FieldView> Pin() const;

  // Rows that are not dead.
  int64_t live() const { return live_; }
  uint64_t last_label() const { return last_label_; }  // ever added
  // Memory of the current view: the chunk with its rows, of segments labels, columns with their
  // bitmaps, and postings (what of these is mapped from a file, too), and tombstones. Of merges
  // that run and of views that readers still hold nothing is in it.
  int64_t bytes() const { return part_bytes_ + chunk_bytes_; }

  // Puts a part behind the others; for loading. dead: bits by slot, may be shorter.
  void AddPart(std::shared_ptr<const FieldSegment> segment, const std::vector<uint64_t>& dead,
               uint64_t file);
  // For loading: labels up to here were added, whatever is left of them.
  void SetLastLabel(uint64_t label) { last_label_ = std::max(last_label_, label); }

  // Makes the chunk a segment though it is not full, unless it is empty.
  void Seal();

  // Neighbouring parts to be made one.
  struct MergeWork {
    std::vector<FieldPart> sources;
    std::vector<std::vector<uint64_t>> dead;      // of each when it began
    std::vector<std::vector<uint32_t>> maps;      // set by Run
    std::shared_ptr<const FieldSegment> segment;  // set by Run; null: nothing is left
    uint64_t file = 0;                            // of `segment`, for whoever saves it
    void Run();                                   // without the lock
    // What Run needs at most: the sources once more. rows: of the sources, dead ones too.
    int64_t bytes() const;
    uint64_t rows() const;
  };
  // Parts whose merge pays now: kFanOut neighbours of about one size, or one of which a third is
  // dead; of `max_rows` together at most.
  std::optional<MergeWork> BeginMerge(uint64_t max_rows = kMostRows) const;
  bool MergeDue() const { return FindMerge(kMostRows).count > 0; }
  // The parts from the first one without a file to the last such, if there are any.
  std::optional<MergeWork> BeginSave() const;
  // Puts the merged segment in the place of its sources, unless they are not there any more. True
  // when done.
  bool Publish(const MergeWork& work);

  // Every document up to here is in a part with a file, or dead; the highest number when all are.
  uint64_t SavedThrough() const;

  static constexpr size_t kFanOut = 8;
  static constexpr uint64_t kMostRows = UINT32_MAX / 2;  // of one segment
  // Bytes of postings of one segment, so that the names of its terms stay below 4 GiB.
  static constexpr int64_t kMostPostings = int64_t{3} << 30;

 private:
  struct Range {
    size_t first = 0, count = 0;
  };
  Range FindMerge(uint64_t max_rows) const;
  void Swap(std::shared_ptr<const FieldView> view);

  std::shared_ptr<OpenChunk> chunk_;
  std::shared_ptr<const FieldView>
      writer_view_;  // the same as view_, for the writer, without a lock
  int64_t live_ = 0;
  int64_t part_bytes_ = 0, chunk_bytes_ = 0;
  uint64_t last_label_ = 0;

  mutable absl::Mutex view_mu_;  // a leaf
  std::shared_ptr<const FieldView> view_ ABSL_GUARDED_BY(view_mu_);
};

}  // namespace vecino::fields
