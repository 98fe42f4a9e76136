#include "encoder/bpe_merges.h"

#include <algorithm>
#include <array>
#include <functional>
#include <queue>
#include <utility>

namespace vecino::encoder {
namespace {

constexpr size_t kMostScanned = 64;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

void BpeMerges::Add(int32_t left, int32_t right, int32_t joined) {
  ranks_[PairKey(left, right)] = static_cast<int32_t>(joined_.size());
  joined_.push_back(joined);
}

int32_t BpeMerges::Rank(int32_t left, int32_t right) const {
  const auto found = ranks_.find(PairKey(left, right));
  return found == ranks_.end() ? kNoRank : found->second;
}

void BpeMerges::Join(size_t begin, std::vector<int32_t>* ids) const {
  const size_t n = ids->size() - begin;
  int32_t* const symbols = ids->data() + begin;
  ids->resize(begin + (n <= kMostScanned ? JoinByScanning(symbols, n) : JoinByHeap(symbols, n)));
}

size_t BpeMerges::JoinByScanning(int32_t* ids, size_t n) const {
  std::array<int32_t, kMostScanned> ranks;  // ranks[i]: that of ids[i] and ids[i + 1]
  for (size_t i = 0; i + 1 < n; ++i) ranks[i] = Rank(ids[i], ids[i + 1]);
  while (n > 1) {
    const size_t at = std::min_element(ranks.begin(), ranks.begin() + (n - 1)) - ranks.begin();
    if (ranks[at] == kNoRank) break;
    ids[at] = joined_[ranks[at]];
    if (at + 2 < n) {
      std::copy(ids + at + 2, ids + n, ids + at + 1);
      std::copy(ranks.begin() + at + 2, ranks.begin() + (n - 1), ranks.begin() + at + 1);
      ranks[at] = Rank(ids[at], ids[at + 1]);
    }
    if (at > 0) ranks[at - 1] = Rank(ids[at - 1], ids[at]);
    --n;
  }
  return n;
}

size_t BpeMerges::JoinByHeap(int32_t* ids, size_t n) const {
  // A list of the symbols left, linked by position, and for each the rank with its right neighbour.
  std::vector<size_t> next(n), previous(n);
  std::vector<int32_t> ranks(n, kNoRank);
  using Pair = std::pair<int32_t, size_t>;  // rank and position; out of date if not ranks[position]
  std::priority_queue<Pair, std::vector<Pair>, std::greater<Pair>> best;
  const auto rank = [&](size_t at) {
    ranks[at] = next[at] < n ? Rank(ids[at], ids[next[at]]) : kNoRank;
    if (ranks[at] != kNoRank) best.emplace(ranks[at], at);
  };
  for (size_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;  // of the first: never read
    rank(i);
  }
  while (!best.empty()) {
    const auto [merge, at] = best.top();
    best.pop();
    if (ranks[at] != merge) continue;
    ids[at] = joined_[merge];
    const size_t gone = next[at];
    ranks[gone] = kNoRank;
    next[at] = next[gone];
    if (next[at] < n) previous[next[at]] = at;
    rank(at);
    if (at > 0) rank(previous[at]);
  }
  size_t left = 0;
  for (size_t i = 0; i < n; i = next[i]) ids[left++] = ids[i];
  return left;
}

}  // namespace vecino::encoder
