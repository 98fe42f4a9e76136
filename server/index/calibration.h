// What was measured of an index: how widely it must be searched to find a share of the best rows.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/index/parallel.h"
#include "server/index/probe_rule.h"
#include "server/index/recall_table.h"

namespace vecino::index {

class IvfSegment;
class Tombstones;

// Recall measured on rows of the data itself, which were left out of their own answers, as were
// their near copies (near_copies.h).
struct Calibration {
  struct Point {
    int breadth = 0;   // lists of a typical query, or ef
    float recall = 0;  // mean share of the true best k found; does not fall with breadth
  };
  // Of what is missing to 1, by which BreadthFor exceeds its target: rows that centroids were
  // trained on are found more easily than queries, .005 to .024 more of them (docs/index.md).
  static constexpr double kMargin = 0.25;
  // The target that a recall measured on rows left out of training is sure enough to reach: a part
  // of what is missing to 1 less, or less by 2.5 standard errors, of which .005 are forgiven (and
  // no more than half of what is missing).
  static double Sure(double recall, double error, double part = kSurePart);
  static constexpr double kSurePart = 0.1;
  // Where filters were measured, which let pass rows by chance; those of callers do not. And of
  // many settings the cheapest is more often one whose recall was measured too high: at a tenth of
  // a million rows .948 to .958 was found for .95 (docs/filters.md).
  static constexpr double kSurePartOfFilters = 0.2;

  // c times as many neighbours lie in c^kWidening times as many lists, where nothing was measured:
  // so it was on 304,600 texts (docs/index.md).
  static constexpr double kWidening = 0.35;

  int k = 0;
  int queries = 0;              // that were measured; 0: nothing was
  int64_t rows = 0;             // live ones, among which they were searched for; 0: not known
  std::vector<Point> points;    // for k = 10 and no filter
  double widening = kWidening;  // the exponent of this data
  ProbeRule rule;               // by which `breadth` lists of an IVF are more for some queries
  // By k and by the share of a filter; empty: of files from before there were tables, which have
  // points and widening only.
  RecallTable table;
  // When a part of the table was replaced by what callers' or stored queries showed, in µs since
  // 1970, and how many settings were measured for it last; 0: never.
  int64_t tuned_at_us = 0;
  int32_t tuned_points = 0;
  // Of a generation: what a tuning measured of the graph over its segment of so many rows, in the
  // place of the graph's own table, by ef; empty: nothing.
  RecallTable graph_table;
  int64_t graph_rows = 0;
  // That of a graph over so many rows; null: it goes by its own.
  const RecallTable* GraphTable(int64_t graph_of_rows) const {
    return graph_of_rows == graph_rows && !graph_table.empty() ? &graph_table : nullptr;
  }

  // The least breadth whose measured recall reaches `target` by kMargin of what is missing to 1,
  // interpolated (log breadth) between points; the greatest when none does. `fallback` when nothing
  // was measured.
  int BreadthFor(double target, int fallback) const;
};

// Queries that a calibration asks: with 800 the standard error of the measured recall is .0035 at
// .95 for k = 10, .0077 for k = 1 (docs/index.md).
inline constexpr int kCalibrationQueries = 800;
inline constexpr int kCalibrationK = 10;

// A segment and which of its rows are dead; null: none.
struct CalibrationPart {
  const IvfSegment* segment = nullptr;
  const Tombstones* dead = nullptr;
};

// Measures `parts`, at least one and all of one generation, with some of their live rows as
// queries, each left out of its own answer and its near copies too: where brute force finds their
// best rows, of all and of random shares, and how widely these must be searched for
// (calibration_table.h). The queries are rows that training left out, where it left out enough.
// What dies meanwhile counts as live. Of fewer than two live rows nothing is measured but their
// number. threads: of ParallelFor; any number gives the same. Blocks for seconds a million rows.
// RESOURCE_EXHAUSTED, or the checkpoint's error.
absl::StatusOr<Calibration> CalibrateIvf(absl::Span<const CalibrationPart> parts, int queries,
                                         uint64_t seed, Checkpoint checkpoint, int threads = 1);
// What was measured of one breadth of an index that has no more to choose.
struct MeasuredBreadth {
  int breadth = 0;
  double recall = 0;   // the mean share found
  double error = 0;    // its standard error
  double scanned = 0;  // share of the rows that were compared; 0: not known
};
// Through these, by ascending breadth, the least breadths that are sure (Calibration::Sure) to
// reach the table's aims. Recalls that fall are raised to those before.
RecallTable::Curve CurveThrough(absl::Span<const MeasuredBreadth> points);

// What was measured of a setting of a table.
struct MeasuredSetting {
  RecallTable::Setting setting;  // `recall` is not looked at; breadth 0: all rows were compared
  double recall = 0;             // the mean share found
  double error = 0;              // its standard error
};
// The same through settings that aim at ever more, those that compare all rows last: for aims that
// only these reach there is no setting (breadth 0).
RecallTable::Curve CurveThroughSettings(absl::Span<const MeasuredSetting> settings);

// What CalibrateIvf takes meanwhile at most, besides a bit and four bytes a row.
int64_t CalibrationBytes(int dimension, int nlist);

}  // namespace vecino::index
