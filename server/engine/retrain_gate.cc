#include "server/engine/retrain_gate.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vecino::engine {

std::string WhyRejected(const GateFigures& f, const MaintenancePolicy& policy) {
  if (f.min_recall > 0 && f.recall_after < f.min_recall) {
    return f.queries == 0
               ? absl::StrFormat(
                     "there are too few rows to measure the recall of %.3f that was "
                     "asked for",
                     f.min_recall)
               : absl::StrFormat("the new build finds %.3f, less than the %.3f that was asked for",
                                 f.recall_after, f.min_recall);
  }
  if (f.queries == 0) return "";
  if (f.first) {
    // What compares every row finds them all: that is no index.
    if (f.rows_before > 0 && f.rows_after > policy.gate_first_rows * f.rows_before &&
        f.seconds_after > policy.gate_first_rows * f.seconds_before) {
      return absl::StrFormat(
          "the first training would compare %.0f rows a search of %.0f, no quicker than all of "
          "them without it",
          f.rows_after, f.rows_before);
    }
    if (f.recall_after >= f.target - policy.gate_first_slack) return "";
    return absl::StrFormat(
        "the first training finds %.3f of a target of %.3f with all it may scan: "
        "more than %.2f less",
        f.recall_after, f.target, policy.gate_first_slack);
  }
  const bool kept = f.recall_after >= f.target;
  const bool as_much = f.recall_after >= f.recall_before - policy.gate_recall_loss;
  const bool cheaper = f.rows_before > 0 && f.rows_after <= f.rows_before;
  const bool near = f.recall_after >= f.target - policy.gate_target_slack && (as_much || cheaper);
  // Where the target cannot be had, because codes are too coarse for it, as much for less is
  // better, too.
  const bool better =
      f.recall_before < f.target && (f.recall_after > f.recall_before || (as_much && cheaper));
  if (!kept && !near && !better) {
    return absl::StrFormat(
        "the new build finds %.3f, the old one %.3f; it must reach the target of %.3f, or come "
        "within %.3g of it and compare no more rows or find as much, to %.3g, as the old one, or, "
        "where that misses it, find more, or as much for less",
        f.recall_after, f.recall_before, f.target, policy.gate_target_slack,
        policy.gate_recall_loss);
  }
  const bool missed = f.recall_before < f.target - policy.gate_target_slack;
  const double cost = missed ? policy.gate_cost_of_more : policy.gate_cost;
  // Finding more may take more, but not many times as much where the old one finds enough.
  double rows = f.rows_at_equal_recall > 0 ? f.rows_at_equal_recall : f.rows_after;
  if (!missed && f.rows_after > policy.gate_cost_of_more * f.rows_before) rows = f.rows_after;
  if (f.rows_before > 0 && rows > cost * f.rows_before) {
    return absl::StrFormat(
        "the new build compares %.0f rows a search for what the old one finds with %.0f: more than "
        "%.3g times as many",
        rows, f.rows_before, cost);
  }
  if (missed) return "";
  if (f.seconds_after > policy.gate_time * f.seconds_before &&
      f.seconds_after - f.seconds_before > policy.gate_least_seconds) {
    return absl::StrFormat(
        "a search of the new build takes %.0f µs, one of the old %.0f: more than %.3g times as "
        "long",
        1e6 * f.seconds_after, 1e6 * f.seconds_before, policy.gate_time);
  }
  return "";
}

std::string DescribeFigures(const GateFigures& f) {
  if (f.queries == 0) return "too few rows to measure";
  std::string text = absl::StrFormat("recall %.3f → %.3f at a target of %.3g", f.recall_before,
                                     f.recall_after, f.target);
  if (f.rows_before > 0 && f.rows_after > 0) {
    absl::StrAppendFormat(&text, ", rows compared %.0f → %.0f", f.rows_before, f.rows_after);
  }
  absl::StrAppendFormat(&text, ", %.0f → %.0f µs, on %d queries", 1e6 * f.seconds_before,
                        1e6 * f.seconds_after, f.queries);
  return text;
}

}  // namespace vecino::engine
