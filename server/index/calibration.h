// What was measured of an index: how widely it must be searched to find a share of the best rows.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/index/parallel.h"
#include "server/index/probe_rule.h"

namespace vecino::index {

class IvfSegment;
class Tombstones;

// Recall measured on rows of the data itself, which were left out of their own answers.
struct Calibration {
  struct Point {
    int breadth = 0;   // lists of a typical query, or ef
    float recall = 0;  // mean share of the true best k found; does not fall with breadth
  };
  // The mean of 800 queries has a standard error of .0035 at .95 (of 400, above 128 lists, .005),
  // and rows that centroids were trained on are found more easily than queries: .005 to .024 more
  // of them (docs/index.md).
  static constexpr double kMargin = 0.25;

  // c times as many neighbours lie in c^kWidening times as many lists, where nothing was measured:
  // so it was on 304,600 texts (docs/index.md).
  static constexpr double kWidening = 0.35;

  int k = 0;
  int queries = 0;   // that were measured; 0: nothing was
  int64_t rows = 0;  // live ones, among which they were searched for; 0: not known
  std::vector<Point> points;
  double widening = kWidening;  // the exponent of this data
  ProbeRule rule;               // by which `breadth` lists of an IVF are more for some queries

  // The least breadth whose measured recall reaches `target` by kMargin of what is missing to 1,
  // interpolated (log breadth) between points; the greatest when none does. `fallback` when nothing
  // was measured.
  int BreadthFor(double target, int fallback) const;
};

// Queries that a calibration asks: with 800 the standard error of the measured recall is .0035 at
// .95; half of them above 128 lists (docs/index.md).
inline constexpr int kCalibrationQueries = 800;
inline constexpr int kCalibrationK = 10;

// A segment and which of its rows are dead; null: none.
struct CalibrationPart {
  const IvfSegment* segment = nullptr;
  const Tombstones* dead = nullptr;
};

// Searches `parts`, at least one and all of one generation, for some of their live rows, each left
// out of its own answer, at rising breadths, and compares with brute force, then once more under a
// filter, for the widening. Ties count as found. What dies meanwhile counts as live. `queries`, at
// most all rows but one; of fewer than two live rows nothing is measured but their number. threads:
// of ParallelFor; any number gives the same. Blocks for about a second a million rows.
// RESOURCE_EXHAUSTED, or the checkpoint's error.
absl::StatusOr<Calibration> CalibrateIvf(absl::Span<const CalibrationPart> parts, int queries,
                                         uint64_t seed, Checkpoint checkpoint, int threads = 1);
// What CalibrateIvf takes meanwhile at most, besides a bit and four bytes a row.
int64_t CalibrationBytes(int dimension, int nlist);
// The same for the segment's graph and ef.
absl::StatusOr<Calibration> CalibrateGraph(const IvfSegment& segment, int queries, uint64_t seed,
                                           Checkpoint checkpoint);

}  // namespace vecino::index
