// The codes of the rows of a segment that a filter lets pass, side by side: for filters that come
// again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "server/index/ivf_segment.h"
#include "server/index/tombstones.h"

namespace vecino::index {

// A scan of a segment's own codes reads the codes of all rows of a list, of those that a filter
// does not let pass, too. Here the ones that pass stand alone: *places* 0 to size() - 1, in order
// of slots, so list by list. Never stale: rows of a segment do not change, and which are dead is
// said by its tombstones. Immutable, so safe from any thread.
class PassingCodes {
 public:
  // Up to this share of a segment's rows. Of half of them a scan takes .75 of what it takes without
  // (304,600 texts, with as much recall), for half of the memory of the segment's codes.
  static constexpr double kMostShare = 0.6;

  // allowed: bits by slot, of all slots. Reads the codes' pages of all rows that pass.
  static std::shared_ptr<const PassingCodes> Make(const IvfSegment& segment,
                                                  const uint64_t* allowed);
  // What bytes() would be of one with so many rows.
  static size_t BytesOf(const IvfSegment& segment, int64_t passing);

  int64_t size() const { return static_cast<int64_t>(slots_.size()); }
  size_t bytes() const {
    return blocks_.size() * sizeof(Line) + (slots_.size() + list_begin_.size()) * sizeof(uint32_t);
  }
  uint32_t list_begin(int list) const { return list_begin_[static_cast<size_t>(list)]; }  // place
  // As IvfSegment::block, of places.
  const uint8_t* block(size_t i) const { return blocks_.front().bytes + i * block_bytes_; }
  uint32_t slot(uint32_t place) const { return slots_[place]; }
  // How they lie in the lists: as chance would have it, or more in some than in others; unknown of
  // so few that it cannot be told (kMinJudged). By Pearson's chi-square over cells of lists that
  // stand together (near centroids do, centroid_order.h), so many that kOfCell are expected of
  // each: at random it is 1 a cell, with a standard deviation of √(2 / cells); more than 5 of these
  // and 1.5 is not chance. What calibration measured, with rows that pass at random, says nothing
  // of others: among rows that are all far from the query codes do not tell the nearest (recall .27
  // where .95 was wanted), and where all rows of a list pass, more of them have to be scored again.
  enum class Spread { kUnknown, kEven, kUneven };
  static constexpr int64_t kOfCell = 16, kMinJudged = 16 * kOfCell;
  Spread spread() const { return spread_; }
  // Of 16 places from 16 · block on, a bit for each that is not dead (or is beyond the last).
  uint16_t Live(size_t block, const Tombstones& dead) const;

 private:
  struct alignas(64) Line {
    uint8_t bytes[64] = {};
  };
  PassingCodes() = default;
  Spread SpreadIn(const IvfSegment& segment) const;

  size_t block_bytes_ = 0;
  Spread spread_ = Spread::kUnknown;
  std::vector<Line> blocks_;
  std::vector<uint32_t> slots_;       // by place, ascending
  std::vector<uint32_t> list_begin_;  // nlist + 1
};

}  // namespace vecino::index
