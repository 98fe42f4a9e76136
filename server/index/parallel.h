// One build's work divided among threads.
#pragma once

#include <cstddef>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace vecino::index {

// Called between pieces of work of about 10 ms or less; an error ends the work and is passed on. So
// long work can be cancelled, report, and make way for queries.
using Checkpoint = absl::FunctionRef<absl::Status()>;

// Calls `body` once for each task 0 to tasks − 1, on up to `threads` threads at once, of which the
// caller is one; the others are made and joined here, and so have the caller's priority. Tasks
// begin in ascending order. What `body` gets as its checkpoint is the caller's on the caller's
// thread, and elsewhere tells whether work was stopped; body calls it as any long work does, and
// the caller calls its own before each of its tasks too. The first error stops all and is returned.
// Results must not depend on which thread does what, so that any number of them gives the same.
// std::bad_alloc from body or checkpoint is RESOURCE_EXHAUSTED; they throw nothing else. Blocks
// until all threads ended.
absl::Status ParallelFor(int threads, size_t tasks, Checkpoint checkpoint,
                         absl::FunctionRef<absl::Status(size_t task, Checkpoint checkpoint)> body);

}  // namespace vecino::index
