// vecino bench
#pragma once

#include "client/cli/context.h"

namespace vecino::cli {

// Adds the command to `app`. `context` must outlive it.
void AddBenchCommand(CLI::App& app, Context& context);

}  // namespace vecino::cli
