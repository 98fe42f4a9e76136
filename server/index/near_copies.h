// Which of a row's neighbours are copies of it rather than other rows about the same.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"

namespace vecino::index {

// Of a row's `kNearCopyRank` best others those are near copies whose squared distance is below
// `kNearCopyPart` of that of the last of them: other versions of a text, its parts that overlap,
// the same words once more. Stored rows often have some and what callers ask for mostly has none.
// They lie beside the row in every index, so a recall that counts them flatters: of a million rows
// made of 304,600 texts three times each, .929 was found for .95. A calibration leaves them out. Of
// 304,600 texts one in 25 of the ten best of a row is a near copy, and one in 18 of those of a
// query (docs/recall.md).
inline constexpr size_t kNearCopyRank = 10;
inline constexpr float kNearCopyPart = 0.5f;
inline constexpr size_t kMostNearCopies = kNearCopyRank - 1;

// row: d floats. best: vectors of its best others, best first, as many as there are. For each of
// the first kNearCopyRank of them whether it is a near copy; never of the last of these. Thread
// safe.
std::vector<bool> FindNearCopies(const float* row, absl::Span<const float* const> best, size_t d);

}  // namespace vecino::index
