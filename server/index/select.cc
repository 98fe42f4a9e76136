#include "server/index/select.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "server/index/select_steps.h"

namespace vecino::index {
namespace {

// The key of a score; see select_steps.h.
int32_t KeyOf(float x, int32_t flip) {
  const auto bits = std::bit_cast<int32_t>(x + 0.0f);
  return bits ^ ((bits >> 31) & std::numeric_limits<int32_t>::max()) ^ flip;
}

}  // namespace

namespace select_portable {

KeyRange MakeKeys(const float* scores, size_t n, int32_t flip, int32_t* keys) {
  KeyRange range = {std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()};
  for (size_t i = 0; i < n; ++i) {
    keys[i] = KeyOf(scores[i], flip);
    range.lowest = std::min(range.lowest, keys[i]);
    range.highest = std::max(range.highest, keys[i]);
  }
  for (; n % kKeyStep != 0; ++n) keys[n] = kKeyPadding;
  return range;
}

size_t KeysAtLeast(const int32_t* keys, size_t n, int32_t key) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) count += keys[i] >= key;
  return count;
}

void TakeKeys(int32_t* keys, size_t n, SelectCut<int32_t> cut) {
  size_t taken = 0;
  for (size_t i = 0; i < n; ++i) {
    const int32_t key = keys[i];
    const bool tie = key == cut.above && cut.ties > 0;
    if (key <= cut.above && !tie) continue;
    cut.ties -= tie;
    keys[taken++] = static_cast<int32_t>(i);
  }
}

void SumRange(const PqCandidate* candidates, size_t n, uint32_t* lowest, uint32_t* highest) {
  *lowest = *highest = candidates[0].sum;
  for (size_t i = 1; i < n; ++i) {
    *lowest = std::min(*lowest, candidates[i].sum);
    *highest = std::max(*highest, candidates[i].sum);
  }
}

size_t SumsAtLeast(const PqCandidate* candidates, size_t n, uint32_t sum) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) count += candidates[i].sum >= sum;
  return count;
}

void TakeSums(PqCandidate* candidates, size_t n, SelectCut<uint32_t> cut) {
  size_t taken = 0;
  for (size_t i = 0; i < n; ++i) {
    const PqCandidate candidate = candidates[i];
    const bool tie = candidate.sum == cut.above && cut.ties > 0;
    if (candidate.sum <= cut.above && !tie) continue;
    cut.ties -= tie;
    candidates[taken++] = candidate;
  }
}

}  // namespace select_portable

namespace {

constexpr SelectSteps kPortableSelectSteps = {
    select_portable::MakeKeys, select_portable::KeysAtLeast, select_portable::TakeKeys,
    select_portable::SumRange, select_portable::SumsAtLeast, select_portable::TakeSums};

// Halves [lowest, highest] until it is known where the `wanted` highest of n keys end, or where up
// to `more` beyond do, 1 ≤ wanted < n; `found` is how many end there. at_least(t): how many keys
// are t or higher.
template <typename Key, typename AtLeast>
SelectCut<Key> FindCut(Key lowest, Key highest, size_t wanted, size_t more, size_t* found,
                       AtLeast at_least) {
  *found = wanted;
  int64_t low = lowest, high = int64_t{highest} + 1;  // at least `wanted` are ≥ low, fewer ≥ high
  size_t above = 0;                                   // keys ≥ high
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    const size_t count = at_least(static_cast<Key>(middle));
    if (count >= wanted && count - wanted <= more) {
      *found = count;
      return {static_cast<Key>(middle - 1), 0};
    }
    if (count > wanted) {
      low = middle;
    } else {
      high = middle;
      above = count;
    }
  }
  return {static_cast<Key>(low), wanted - above};
}

const SelectSteps& StepsOf(CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return kAvx512SelectSteps;
  if (level == CpuLevel::kAvx2) return kAvx2SelectSteps;
#endif
  (void)level;
  return kPortableSelectSteps;
}

}  // namespace

void SelectBest(const float* scores, size_t n, size_t count, bool best_high,
                std::vector<uint32_t>* out, CpuLevel level) {
  if (count >= n) {
    out->resize(n);
    std::iota(out->begin(), out->end(), 0u);
    return;
  }
  if (count == 0) return out->clear();
  const SelectSteps& steps = StepsOf(level);
  out->resize((n + kKeyStep - 1) / kKeyStep * kKeyStep);  // the keys first, then the indexes
  auto* keys = reinterpret_cast<int32_t*>(out->data());
  const KeyRange range = steps.make_keys(scores, n, best_high ? 0 : -1, keys);
  size_t found = 0;
  const auto cut = FindCut<int32_t>(range.lowest, range.highest, count, /*more=*/0, &found,
                                    [&](int32_t key) { return steps.keys_at_least(keys, n, key); });
  steps.take_keys(keys, n, cut);
  out->resize(count);
}

Kept KeepBest(PqCandidate* candidates, size_t n, size_t count, size_t more, CpuLevel level) {
  const SelectSteps& steps = StepsOf(level);
  uint32_t lowest = 0, highest = 0;
  steps.sum_range(candidates, n, &lowest, &highest);
  if (count >= n) return {n, lowest};
  size_t found = 0;
  const auto cut = FindCut<uint32_t>(lowest, highest, count, more, &found, [&](uint32_t sum) {
    return steps.sums_at_least(candidates, n, sum);
  });
  steps.take_sums(candidates, n, cut);
  if (cut.ties > 0) return {found, cut.above};
  steps.sum_range(candidates, found, &lowest, &highest);
  return {found, lowest};
}

void Reservoir::Reset(size_t keep) {
  keep_ = keep;
  limit_ = std::max(2 * keep, kRoom);
  size_ = 0;
  threshold_ = 0;
  if (buffer_.size() < limit_ + kRoom) buffer_.resize(limit_ + kRoom);
}

void Reservoir::Scan(const uint8_t* blocks, size_t n_blocks, size_t m, const uint8_t* tables,
                     const uint16_t* live, uint32_t first_slot) {
  constexpr size_t kStep = kRoom / kPqBlockRows;
  for (size_t b = 0; b < n_blocks; b += kStep) {
    Added(PqScan(blocks + b * PqBlockBytes(m), std::min(kStep, n_blocks - b), m, tables, live + b,
                 threshold_, first_slot + static_cast<uint32_t>(b) * kPqBlockRows, room()));
  }
}

size_t Reservoir::Finish() {
  if (size_ > keep_) Shrink(0);
  return size_;
}

void Reservoir::Shrink(size_t more) {
  const Kept kept = KeepBest(buffer_.data(), size_, keep_, more);
  threshold_ = kept.lowest;
  size_ = kept.size;
}

}  // namespace vecino::index
