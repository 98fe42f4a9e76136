// What a search may ask of an index besides the number of rows.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vecino::index {

class Corrections;
class PassingCodes;
class Segment;
class Tail;
struct SearchReport;

// Bits in order of slots: bit s % 64 of word s / 64 is slot s.
struct SlotBits {
  const uint64_t* words = nullptr;  // null: all rows of that part
  int64_t slots = 0;     // that the words cover; rows beyond (of a growing tail) are not found
  int64_t passing = -1;  // how many of them are set; -1: not known
  const PassingCodes* codes = nullptr;  // of the same rows, where there are some; see there
};

// Which rows may be found, said for each part of a view. Asked once for each part by a search, on
// its thread, in the order of the parts; the words stay valid until the search ends. A filter that
// is made of something which rows enter before they enter the index must look there when it is
// asked, not before: then a search does not miss both versions of a row that is replaced meanwhile.
class RowFilter {
 public:
  virtual ~RowFilter() = default;
  virtual SlotBits OfSegment(const Segment& segment) const = 0;
  virtual SlotBits OfTail(const Tail& tail) const = 0;
};

// Targets from here on score more rows again: with few, the codes' errors alone cost more recall
// than is allowed, and no number of lists makes up for it (measured: .992 with all lists).
inline constexpr double kHighRecall = 0.96;

// Zero means: chosen by the index for `recall_target` from what its generation's calibration
// measured.
struct SearchParams {
  int k = 10;  // ≥ 1
  // Where an answer's k rows come from several indexes, for how many of an index's own best the
  // recall target is (RowsOfShard); 0: for all k.
  int aim_k = 0;
  double recall_target = 0.95;  // 0 to 1: expected share of the true best k that is found
  bool exact = false;           // compare every row; the rest is ignored then
  int nprobe = 0;               // lists of an IVF to scan, by every query
  int breadth = 0;              // lists of AUTO's IVF that a typical query scans; see ProbeRule
  int ef = 0;                   // breadth of a graph search
  int rerank =
      0;  // rows scored again by their 8-bit codes (IVF); floats follow for the best of them
  const RowFilter* filter = nullptr;  // null: every row may be found
  // Factors on what calibration chooses, by kind of search; null: none. Not on what a caller or the
  // collection says itself.
  const Corrections* corrections = nullptr;
  SearchReport* report = nullptr;  // told what the search looks at, unless null

  int AimedAt() const { return aim_k > 0 ? std::min(aim_k, k) : k; }
};

// Of the best k of rows that are spread over shards by chance, how many are in the shard of one of
// them, or in that and some others, `of` in all: the mean, 1 + (k - 1) · of / shards, rounded up.
// k, shards: 1 or more; of: up to shards.
inline int RowsOfShard(int k, int shards, int of = 1) {
  return 1 + static_cast<int>((int64_t{k - 1} * of + shards - 1) / shards);
}

}  // namespace vecino::index
