// Waiting for long-running work on the terminal, and what it would take.
#pragma once

#include <functional>
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

// What to do about an operation that was asked for.
struct FollowOptions {
  std::string what;            // "retrain packages", for errors
  bool dry_run = false;        // it was not started: its estimate is printed
  bool wait = false;           // until it is done
  std::string status_command;  // that shows it, after the collection; empty: `operation get`
};
// Tells what became of it: as JSON, or where to look for it while it runs, or by print_done once it
// is done, which returns an exit code. Returns the exit code.
int FollowOperation(Context& context, const Result<Operation>& started,
                    const FollowOptions& options,
                    const std::function<int(const Operation&)>& print_done);

// How a retrain or a tuning of each shard ended, and what was measured, on stdout.
void PrintOutcomes(const Operation& operation);

}  // namespace vecino::cli
