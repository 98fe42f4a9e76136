// From a filter's text to its tree.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "server/fields/filter.h"

namespace vecino::fields {

// INVALID_ARGUMENT whose message begins with `column N: `. Recursion is bounded by
// FilterLimits::kMaxDepth. Thread safe.
absl::StatusOr<Expression> ParseFilter(std::string_view text);

}  // namespace vecino::fields
