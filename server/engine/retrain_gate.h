// Whether a new build may take the place of the old one. Pure: no clock, no locks.
#pragma once

#include <string>

#include "server/engine/maintenance_policy.h"

namespace vecino::engine {

// Old and new build, measured on the same queries over the same rows.
struct GateFigures {
  bool first = false;     // no generation before: the old one compares every row
  double target = 0;      // recall target of the collection
  double min_recall = 0;  // that the caller asks for; 0: none
  int queries = 0;        // 0: too few rows to measure anything
  double recall_before = 0, recall_after = 0;
  // Rows compared a search; 0: the kind of index does not say.
  double rows_before = 0, rows_after = 0;
  // The same where the new one finds what the old one does, if it finds more: cost at equal recall.
  double rows_at_equal_recall = 0;
  double seconds_before = 0, seconds_after = 0;  // median time of a search on one thread
};

// Why the new build may not go live, with the figures; empty: it may.
std::string WhyRejected(const GateFigures& figures, const MaintenancePolicy& policy);

// "recall 0.941 → 0.968 at a target of 0.95, rows compared 10,312 → 9,204, on 1000 queries".
std::string DescribeFigures(const GateFigures& figures);

}  // namespace vecino::engine
