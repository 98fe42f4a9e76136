// The best R of many, by a threshold search over vector registers instead of a heap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/index/cpu.h"
#include "server/index/pq_scan.h"

namespace vecino::index {

// Indexes of the `count` highest (`best_high`) or lowest scores, in ascending order of index. Ties
// at the border: the lower index. count may exceed n. scores: n floats without NaN. out:
// overwritten. All levels give the same. (nth_element took 87 µs for 512 of 4,096; this takes
// about 6.)
void SelectBest(const float* scores, size_t n, size_t count, bool best_high,
                std::vector<uint32_t>* out, CpuLevel level = BestCpuLevel());

// Keeps the candidates of highest sum, `count` of them or up to `more` beyond where that is quicker
// (ties at the border: any), in front of candidates[0, n), in any order. n ≥ count ≥ 1.
struct Kept {
  size_t size = 0;
  uint32_t lowest = 0;  // sum among them
};
Kept KeepBest(PqCandidate* candidates, size_t n, size_t count, size_t more = 0,
              CpuLevel level = BestCpuLevel());

// Collects what PqScan finds and forgets all but the best `keep`, so that the threshold rises.
// Not thread safe; reused between queries.
class Reservoir {
 public:
  // Rows that one PqScan into room() may yield.
  static constexpr size_t kRoom = 1024;

  void Reset(size_t keep);  // keep ≥ 1; empties it

  // PqScan of any number of blocks into this, `kRoom` rows at a time.
  void Scan(const uint8_t* blocks, size_t n_blocks, size_t m, const uint8_t* tables,
            const uint16_t* live, uint32_t first_slot);

  uint32_t threshold() const { return threshold_; }
  // Where PqScan may append up to kRoom candidates; then call Added.
  PqCandidate* room() { return buffer_.data() + size_; }
  void Added(size_t n) {
    size_ += n;
    // A border is found sooner when it need not be that of exactly `keep`.
    if (size_ > limit_) Shrink(keep_ / 2);
  }
  // The best `keep` at most, in any order.
  size_t Finish();
  const PqCandidate* data() const { return buffer_.data(); }

 private:
  void Shrink(size_t more);

  std::vector<PqCandidate> buffer_;
  size_t keep_ = 0, limit_ = 0, size_ = 0;
  uint32_t threshold_ = 0;  // a row with sum 0 is never found; tables are made so that none matters
};

}  // namespace vecino::index
