// Recall, as it was measured, for people and for programs.
#pragma once

#include <ostream>
#include <string>

#include "client/cli/format.h"
#include "vecino/client.h"

namespace vecino::cli {

Json RecallJson(const RecallEstimate& estimate);
Json RecallStatsJson(const RecallStats& stats);

std::string Share(double share);  // "0.953"
// ".953 (.941 to .962), 1,000 searches, the latest 12 s ago", or that there are not enough of them.
std::string RecallText(const RecallEstimate& estimate);
// "-" where there are not enough searches, else ".953".
std::string RecallCell(const std::optional<RecallEstimate>& estimate);
// Two lines on where searches were measured, then a table of their kinds.
void PrintRecall(std::ostream& out, const RecallStats& stats, int width);

Json TuningJson(const IndexTuning& tuning);
// One row for each point; the recommended one is marked.
void PrintTuning(std::ostream& out, const IndexTuning& tuning, int width);

}  // namespace vecino::cli
