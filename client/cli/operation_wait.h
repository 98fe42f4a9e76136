// Waiting for long-running work on the terminal, and what it would take.
#pragma once

#include <string>

#include "client/cli/context.h"

namespace vecino::cli {

// "retrain packages".
std::string OperationName(const Operation& operation);

// Until it is done, showing how far it is on stderr. The server may answer sooner than asked, so
// the pace is kept here.
Result<Operation> WaitUntilDone(Context& context, Operation operation);

// The estimate of an operation that was not started, on stdout. Returns the exit code.
int PrintEstimate(const Context& context, const Operation& operation);

// How a retrain or a tuning of each shard ended, and what was measured, on stdout.
void PrintOutcomes(const Operation& operation);

}  // namespace vecino::cli
