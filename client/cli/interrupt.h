// Signals that end a command's work in order, for commands that would leave something half done.
#pragma once

#include <atomic>
#include <csignal>
#include <initializer_list>

namespace vecino::cli {

// Whether one came since CatchInterrupt. Never goes back.
const std::atomic<bool>& Interrupted();

// From here on the first of each of `signals` sets Interrupted, and a second one ends the process.
// read() and its like return early on the first.
void CatchInterrupt(std::initializer_list<int> signals = {SIGINT, SIGTERM});

// The first ends the process again.
void LeaveInterrupt(std::initializer_list<int> signals = {SIGINT, SIGTERM});

}  // namespace vecino::cli
