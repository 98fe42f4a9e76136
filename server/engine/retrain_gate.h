// Whether a new build may take the place of the old one. Pure: no clock, no locks.
#pragma once

#include <string>
#include <vector>

#include "server/engine/maintenance_policy.h"

namespace vecino::engine {

// Old and new build, measured on the same queries over the same rows.
struct GateFigures {
  bool first = false;      // no generation before: the old one compares every row
  bool drifted = false;    // HasDrifted
  bool unchanged = false;  // AreRowsUnchanged
  double target = 0;       // recall target of the collection
  double min_recall = 0;   // that the caller asks for; 0: none
  int queries = 0;         // 0: too few rows to measure anything
  double recall_before = 0, recall_after = 0;
  // Rows compared a search; 0: the kind of index does not say.
  double rows_before = 0, rows_after = 0;
  // Cost at equal recall: rows of the one that finds more, where it is searched less widely until
  // it finds what the other does; 0: it was not measured, and is as above.
  double rows_before_at_equal_recall = 0, rows_at_equal_recall = 0;
  // Of the cheapest build of the same rows and target that is known; 0: none, or rows changed.
  double rows_cheapest = 0;
  double seconds_before = 0, seconds_after = 0;  // median time of a search on one thread
  // Recall of other searches than those for ten rows of all.
  struct Other {
    const char* what = "";
    double recall_before = 0, recall_after = 0;
  };
  std::vector<Other> others = {};
};

// Why the new build may not go live, with the figures; empty: it may.
std::string WhyRejected(const GateFigures& figures, const MaintenancePolicy& policy);

// What GateFigures::rows_cheapest of the next build is, once this one is live.
double CheapestOf(const GateFigures& figures, const MaintenancePolicy& policy);

// "recall 0.941 → 0.968 at a target of 0.95, rows compared 10,312 → 9,204, on 1000 queries".
std::string DescribeFigures(const GateFigures& figures);

}  // namespace vecino::engine
