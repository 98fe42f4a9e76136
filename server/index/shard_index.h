// The index of one shard: what is written goes in here, what is searched comes from here.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/index/frozen_rows.h"
#include "server/index/metric.h"
#include "server/index/segment.h"
#include "server/index/view.h"

namespace vecino::index {

struct ShardIndexOptions {
  Metric metric = Metric::kInnerProduct;
  int dimension = 0;         // 1 or more
  int tail_capacity = 2048;  // rows of one tail, 1 or more
};

// What is inside at one moment.
struct ShardIndexStats {
  int64_t live_rows = 0;
  int64_t dead_rows = 0;
  int64_t tail_rows = 0;  // in all tails, dead ones included
  int64_t tail_bytes = 0;
  MemoryUse segment_memory;
  int frozen_tails = 0;
  std::chrono::nanoseconds lag{0};  // since the oldest of them was frozen; 0: there is none
  struct SegmentStats {
    SegmentKind kind = SegmentKind::kFlat;
    int64_t rows = 0;
    int64_t dead = 0;
  };
  std::vector<SegmentStats> segments;  // in order of labels
};

// Thread safety: readers call Pin from any thread and then use the view with no lock held; so do
// Prepare and CatchUp. Everything else is writing, one call at a time: the caller holds a lock for
// it (the shard's). No method but these two blocks on anything slower than a pointer swap.
//
// Invariants, besides those of Tail, Tombstones, View and FrozenRows:
//  I1. A label stands in at most one row of the current view, and in any view its row has the same
//  vector. I2. Every view that is published covers every row added before, except rows that are
//  dead. I3. A tombstone is set in the current view only. What a builder missed meanwhile is taken
//  over from
//      the sources at the moment of Publish, under the same lock that Remove needs.
class ShardIndex {
 public:
  explicit ShardIndex(const ShardIndexOptions& options);

  // Adds a row; visible to every view, pinned or not. label: higher than any before.
  // vector: `dimension` floats, copied. When the tail is full it is frozen and a new one begun.
  void Add(uint64_t label, const float* vector);

  // Tombstones the row; false when there is none or it is dead already. On an update, Add the new
  // row first: then no search sees neither version.
  bool Remove(uint64_t label);
  // The same for every row with a label from `first` to `last`; false when no such row lived.
  bool RemoveRange(uint64_t first, uint64_t last);

  // The current view. Holds a short lock for copying one pointer.
  std::shared_ptr<const View> Pin() const;

  // Puts a segment behind the segments; for loading, when only segments with lower labels are in.
  // dead: bits by slot of rows that are dead, as Tombstones::Snapshot gave them; shorter means that
  // the rest is live.
  void AddSegment(std::shared_ptr<const Segment> segment, const std::vector<uint64_t>& dead = {});

  // Puts `with`, which has the same rows in the same slots, in the place of `segment`. INTERNAL
  // when `segment` is not in the current view or `with` differs in size.
  absl::Status ReplaceSegment(const Segment* segment, std::shared_ptr<const Segment> with);

  // Freezes the tail though it is not full, unless it is empty.
  void FreezeTail();

  // Rows of the oldest frozen tails, at most `max_tails` of them, to be drained into one segment;
  // of `count` neighbouring segments from `first` on, to be merged or retrained. Nullopt when there
  // are none or when another FrozenRows of this index' tails (segments) lives. A drain may go on
  // beside a merge: their sources are never the same.
  std::optional<FrozenRows> FreezeForDrain(int max_tails);
  std::optional<FrozenRows> FreezeForMerge(size_t first, size_t count);

  // The segments that drains have put behind those of `rows`, which are segments, since. Nullopt
  // when there are none. They share the hold of `rows`.
  std::optional<FrozenRows> FreezeBehind(const FrozenRows& rows);

  // Rows, and what was built of them: the segment holds what rows.ForEachLive gave; null when that
  // was nothing.
  struct Built {
    FrozenRows rows;
    std::shared_ptr<const Segment> segment;
  };
  // Segments that are ready to take the place of their rows: with the tombstones that were set
  // since Freeze. After Publish it holds what it replaced, so that the caller frees that without a
  // lock. Move only. Not thread safe.
  class Replacement {
   public:
    Replacement(Replacement&&) = default;
    Replacement& operator=(Replacement&&) = default;

   private:
    friend class ShardIndex;
    // A source's tombstones, as far as they were taken over.
    struct Taken {
      std::vector<uint64_t> words;
      int64_t dead = 0;
    };
    struct Part {
      FrozenRows rows;
      std::shared_ptr<const Segment> segment;
      std::shared_ptr<Tombstones> dead;  // of the segment
      std::vector<Taken> taken;          // by source
    };
    Replacement() = default;

    std::vector<Part> parts_;
    std::shared_ptr<const View> replaced_;
  };
  // built: one of tails; or one or more of segments, each FreezeBehind the one before. Called
  // without the lock: looking up a row that died may wait for memory, and thousands may have died.
  // What dies meanwhile is left to CatchUp, which may be called again, and to Publish. INTERNAL
  // when rows are not this index' or a segment lacks some.
  absl::StatusOr<Replacement> Prepare(std::vector<Built> built) const;
  absl::Status CatchUp(Replacement* replacement) const;
  // Puts the segments in the place of their rows, in one view. Takes over tombstones set since the
  // last CatchUp. INTERNAL as Prepare; then nothing changes.
  absl::Status Publish(Replacement* replacement);
  // All of these at once.
  absl::Status Publish(FrozenRows rows, std::shared_ptr<const Segment> segment);

  // Gives up a build; the sources go on serving.
  void Abandon(FrozenRows rows);

  // The label before the oldest row that is not in a segment; `last` when there is none. Every
  // label up to it is either in a segment or dead.
  uint64_t DrainedThrough(uint64_t last) const;

  // Exact. Cheap: no row is touched.
  ShardIndexStats Stats() const;

  const ShardIndexOptions& options() const { return options_; }

 private:
  void Swap(std::shared_ptr<const View> view);

  const ShardIndexOptions options_;
  // Whether a FrozenRows of tails, and one of segments, of this index lives.
  const std::shared_ptr<std::atomic<bool>> tails_out_, segments_out_;
  std::shared_ptr<const View> writer_view_;  // the same as view_, for the writer, without a lock

  mutable absl::Mutex view_mu_;  // a leaf: nothing is locked or freed under it
  std::shared_ptr<const View> view_ ABSL_GUARDED_BY(view_mu_);
};

}  // namespace vecino::index
