// The merges of byte-pair encoding: symbols become tokens pair by pair, the best pair first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace vecino::encoder {

// Thread safety: const methods are safe from any thread at once.
class BpeMerges {
 public:
  // Makes `left` followed by `right` the token `joined`, after all merges added before. Of a pair
  // that is added twice the later counts, as in the reference.
  void Add(int32_t left, int32_t right, int32_t joined);

  // Joins ids[begin], ids[begin + 1], …, which are symbols, in place; `ids` shrinks. Each step
  // joins the best pair there is, of equals the leftmost. n symbols take O(n log n).
  void Join(size_t begin, std::vector<int32_t>* ids) const;

 private:
  static constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();

  // The place of the pair among the merges, 0 being the best; kNoRank when it is not one.
  int32_t Rank(int32_t left, int32_t right) const;

  // Both join ids[0, n) and return how many ids are left: by looking at all pairs for each merge,
  // which is quickest for words as they are (n <= kMostScanned), and with a heap.
  size_t JoinByScanning(int32_t* ids, size_t n) const;
  size_t JoinByHeap(int32_t* ids, size_t n) const;

  absl::flat_hash_map<uint64_t, int32_t> ranks_;  // by left << 32 | right
  std::vector<int32_t> joined_;                   // by rank
};

}  // namespace vecino::encoder
