// What a calibration asks for and what it should find.
#pragma once

#include <bit>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/index/calibration.h"
#include "server/index/ivf_search.h"
#include "server/index/ivf_segment.h"
#include "server/index/parallel.h"
#include "server/index/tombstones.h"

namespace vecino::index {

// The rows of some segments, numbered from 0: those of the first by slot, then those of the next.
// Their tombstones are those of the beginning.
class AllRows {
 public:
  struct Place {
    size_t part;
    int64_t slot;
  };

  // parts: at least one; the caller keeps the segments.
  explicit AllRows(absl::Span<const CalibrationPart> parts);

  int64_t size() const { return size_; }
  int64_t live() const { return live_; }
  bool IsDead(int64_t row) const {
    const Place place = Find(row);
    return dead_[place.part].IsDead(place.slot);
  }
  const std::vector<const IvfSegment*>& segments() const { return segments_; }
  const IvfSegment& first() const { return *segments_.front(); }
  int64_t begin(size_t part) const { return begin_[part]; }  // its first row
  Place Find(int64_t row) const;
  const float* vector(int64_t row) const {
    const Place place = Find(row);
    return segments_[place.part]->vector(place.slot);
  }
  uint64_t label(int64_t row) const {
    const Place place = Find(row);
    return segments_[place.part]->label(place.slot);
  }
  const Tombstones& dead(size_t part) const { return dead_[part]; }
  // As a search wants them. allowed: bits of slots, for each segment; empty: all rows.
  std::vector<IvfPart> Parts(const std::vector<std::vector<uint64_t>>& allowed) const;
  // Which list each row is in.
  std::vector<uint32_t> Lists() const;

  // Up to `queries` live rows, drawn by `seed`, in random order: of those that training left out,
  // if it left some out.
  std::vector<int64_t> Draw(int queries, uint64_t seed) const;

 private:
  std::vector<const IvfSegment*> segments_;
  std::vector<int64_t> begin_;
  std::deque<Tombstones> dead_;  // as they were at the beginning
  int64_t size_ = 0, live_ = 0;
};

// A random part of the rows: of two parts the smaller is in the larger.
class RandomShare {
 public:
  RandomShare(double share, uint64_t seed)
      : below_(share < 1 ? static_cast<uint64_t>(share * 0x1p64) : ~uint64_t{0}),
        all_(share >= 1),
        seed_(seed) {}
  bool Has(int64_t row) const {
    uint64_t x = static_cast<uint64_t>(row) * 0x9e3779b97f4a7c15u + seed_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return all_ || (x ^ (x >> 31)) < below_;
  }

 private:
  uint64_t below_;
  bool all_;
  uint64_t seed_;
};

// For each query the numbers of the best other live rows, best first: as many as there are, up to
// some number.
using BestRows = std::vector<std::vector<int64_t>>;

// Queries: rows. The best k of all for each. RESOURCE_EXHAUSTED, or the checkpoint's error.
absl::StatusOr<BestRows> BestOfAll(const AllRows& all, absl::Span<const int64_t> rows, int k,
                                   Checkpoint checkpoint, int threads);
// Takes the near copies (near_copies.h) of each query out of the best of all, of which it wants
// NearCopyRule::kKnown at least; they are returned. Thread safe.
BestRows TakeNearCopies(const AllRows& all, absl::Span<const int64_t> rows, BestRows* best);
// Of the live rows that are in `share`, but for those in `without` of each query,
// NearCopyRule::kMost at most. Copies at most kMostCopied rows at once.
inline constexpr int64_t kMostCopied = 32'768;
absl::StatusOr<BestRows> BestOfShare(const AllRows& all, const RandomShare& share,
                                     absl::Span<const int64_t> rows, const BestRows& without, int k,
                                     Checkpoint checkpoint, int threads);

}  // namespace vecino::index
