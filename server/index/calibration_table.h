// Measuring a RecallTable of AUTO's lists.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/index/calibration.h"
#include "server/index/calibration_rows.h"
#include "server/index/parallel.h"

namespace vecino::index {

// Fills calibration->table, and from it points and widening. k, rows and rule are there.
//
// A true neighbour is found when its list is probed and, where codes choose, its code is among the
// best that are scored again. The first is asked for every query at every breadth: which lists the
// search would probe costs it a few microseconds, and tells of every k and share at once. The
// second is asked of fewer queries at a few breadths, by searches whose order of codes tells of
// every number of rows scored again at once.
//
// queries: numbers of rows, in random order; best: the best rows of each, of all live ones but its
// near copies, kDeep for every second of them from the first on and kShallow for the others, at
// least where there are so many; copies: its near copies (near_copies.h), which it is not asked
// for.
absl::Status MeasureTable(const AllRows& all, absl::Span<const int64_t> queries,
                          const BestRows& best, const BestRows& copies, uint64_t seed,
                          Checkpoint checkpoint, int threads, Calibration* calibration);

// Among 264 rows are 100 of a random half, but for one time in 20,000; among 60 are 10 of a half
// and 1 of a tenth (99.8%).
inline constexpr int kDeep = 264, kShallow = 60;

}  // namespace vecino::index
