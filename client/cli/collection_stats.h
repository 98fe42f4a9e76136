// A collection's figures, for people and for programs.
#pragma once

#include <ostream>
#include <string>

#include "client/cli/format.h"
#include "vecino/client.h"

namespace vecino::cli {

Json StatsJson(const std::string& id, const CollectionStats& stats);

// Totals, one line per shard, and what maintenance did last. width: of tables, see Table::Print.
void PrintStats(std::ostream& out, const std::string& id, const CollectionStats& stats, int width);

}  // namespace vecino::cli
