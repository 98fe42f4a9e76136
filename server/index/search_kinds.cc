#include "server/index/search_kinds.h"

#include <algorithm>

namespace vecino::index {
namespace {

constexpr std::array<int, kCountKinds> kMostRows = {1, 10, 100, 1000};
constexpr std::array<double, kShareKinds> kAboveShare = {0.5, 0.1, 0.01, 0.001, 0};

}  // namespace

size_t SearchKindOf(int k, double share) {
  size_t count = 0, part = 0;
  while (count + 1 < kMostRows.size() && k > kMostRows[count]) ++count;
  while (part + 1 < kAboveShare.size() && share <= kAboveShare[part]) ++part;
  return count * kShareKinds + part;
}

SearchKind DescribeSearchKind(size_t kind) {
  const size_t count = kind / kShareKinds, part = kind % kShareKinds;
  return {.min_k = count == 0 ? 1 : kMostRows[count - 1] + 1,
          .max_k = kMostRows[count],
          .above_share = kAboveShare[part],
          .up_to_share = part == 0 ? 1 : kAboveShare[part - 1]};
}

void Corrections::Set(size_t kind, double factor) {
  factors_[kind].store(static_cast<float>(std::clamp(factor, kLeast, kMost)),
                       std::memory_order_relaxed);
}

void Corrections::Reset() {
  for (std::atomic<float>& factor : factors_) factor.store(1, std::memory_order_relaxed);
}

}  // namespace vecino::index
