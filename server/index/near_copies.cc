#include "server/index/near_copies.h"

#include <algorithm>

#include "server/index/distance.h"

namespace vecino::index {

std::vector<bool> FindNearCopies(const float* row, absl::Span<const float* const> best, size_t d) {
  const size_t ranked = std::min(best.size(), kNearCopyRank);
  std::vector<float> squares(ranked);
  for (size_t i = 0; i < ranked; ++i) Score(Metric::kL2, row, best[i], d, 1, &squares[i]);
  std::vector<bool> copies(ranked);
  for (size_t i = 0; i < ranked; ++i) copies[i] = squares[i] < kNearCopyPart * squares.back();
  return copies;
}

}  // namespace vecino::index
