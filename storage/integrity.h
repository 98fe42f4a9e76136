// What a check of stored data finds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace vecino::storage {

struct IntegrityFinding {
  std::string where;    // a file, or a row: "shard 0, document `a`"; not of which collection
  std::string problem;  // what is wrong, in a sentence without a full stop
  std::string advice;   // what to do
};

// Where a check puts what it finds. Called by the thread that checks.
struct IntegritySink {
  std::function<void(IntegrityFinding)> found;
  // Now and then, with the rows and bytes looked at since the last call; not OK: the check ends
  // with that.
  std::function<absl::Status(uint64_t rows, uint64_t bytes)> progress;
  // Each good document, with the vectors that it has; may be null.
  std::function<void(std::string_view id, uint64_t sequence, uint64_t vectors)> document;
};

}  // namespace vecino::storage
