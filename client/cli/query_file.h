// Queries that commands which measure recall take from a file.
#pragma once

#include <string>

#include "vecino/client.h"

namespace vecino::cli {

// Adds the queries of the file, `-` for stdin, to *queries: a text on each line, or a vector as a
// JSON array. Returns what is wrong, or nothing. Blocks on the file.
std::string ReadQueryFile(const std::string& path, RecallQueries* queries);

}  // namespace vecino::cli
