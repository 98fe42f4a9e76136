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
  const double promised = f.target - policy.gate_target_slack;
  const bool missed = f.recall_before < promised;
  const bool kept = f.recall_after >= promised;
  const bool as_much_for_less = f.recall_after >= f.recall_before - policy.gate_recall_loss &&
                                f.rows_before > 0 && f.rows_after <= f.rows_before;
  if (!kept && f.recall_after <= f.recall_before && !as_much_for_less) {
    return absl::StrFormat(
        "the new build finds %.3f, the old one %.3f; it must come within %.3g of the target of "
        "%.3f, or, where the old one misses that, find more, or as much, to %.3g, comparing no "
        "more rows",
        f.recall_after, f.recall_before, policy.gate_target_slack, f.target,
        policy.gate_recall_loss);
  }
  const double other_loss = std::max(policy.gate_other_loss, policy.gate_target_slack);
  for (const GateFigures::Other& other : f.others) {
    if (other.recall_after >= std::min(f.target, other.recall_before) - other_loss) continue;
    return absl::StrFormat(
        "the new build finds %.3f of %s, the old one %.3f at a target of %.3f: more than %.3g less",
        other.recall_after, other.what, other.recall_before, f.target, other_loss);
  }
  const double before =
      f.rows_before_at_equal_recall > 0 ? f.rows_before_at_equal_recall : f.rows_before;
  const double after = f.rows_at_equal_recall > 0 ? f.rows_at_equal_recall : f.rows_after;
  const double cost = missed || f.drifted ? std::max(policy.gate_cost, policy.gate_cost_of_repair)
                                          : policy.gate_cost;
  if (before > 0 && after > cost * before) {
    return absl::StrFormat(
        "the new build is not better: for as much recall it compares %.0f rows a search, the old "
        "one %.0f: more than %.3g times as many",
        after, before, cost);
  }
  // Finding more may take more, but not many times as much where the old one finds enough.
  const double of_more = std::max(policy.gate_cost, policy.gate_cost_of_more);
  if (!missed && before > 0 && f.rows_after > of_more * f.rows_before) {
    return absl::StrFormat(
        "the new build compares %.0f rows a search to find %.3f, the old one %.0f to find %.3f: "
        "more than %.3g times as many",
        f.rows_after, f.recall_after, f.rows_before, f.recall_before, of_more);
  }
  const double same_rows = std::max(policy.gate_cost, policy.gate_cost_of_same_rows);
  if (!missed && !f.drifted && f.rows_cheapest > 0 && f.rows_after > same_rows * f.rows_cheapest) {
    return absl::StrFormat(
        "the new build is not better: it compares %.0f rows a search, an earlier build of the same "
        "rows %.0f: more than %.3g times as many",
        f.rows_after, f.rows_cheapest, same_rows);
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

double CheapestOf(const GateFigures& f, const MaintenancePolicy& policy) {
  double cheapest = f.unchanged ? f.rows_cheapest : 0;
  const auto count = [&](double recall, double rows) {
    if (rows <= 0 || recall < f.target - policy.gate_target_slack) return;
    cheapest = cheapest > 0 ? std::min(cheapest, rows) : rows;
  };
  if (f.unchanged && !f.first) count(f.recall_before, f.rows_before);
  count(f.recall_after, f.rows_after);
  return cheapest;
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
  for (const GateFigures::Other& other : f.others) {
    absl::StrAppendFormat(&text, "; of %s %.3f → %.3f", other.what, other.recall_before,
                          other.recall_after);
  }
  return text;
}

}  // namespace vecino::engine
