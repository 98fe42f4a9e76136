// How a search was answered, for people and for programs.
#pragma once

#include <ostream>

#include "client/cli/format.h"
#include "vecino/client.h"

namespace vecino::cli {

// {"explanation": {...}} with the effort; of a response that has an explanation.
Json ExplanationJson(const SearchResponse& response);
// A table of shards, then the effort, the recall and where the time went.
void PrintExplanation(const SearchResponse& response, std::ostream& out, int width);

}  // namespace vecino::cli
