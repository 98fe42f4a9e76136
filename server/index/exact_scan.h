// The true nearest rows of a view, by comparing all of them: what recall is measured against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/index/search_params.h"
#include "server/index/top_k.h"
#include "server/index/view.h"

namespace vecino::index {

struct ExactQuery {
  const float* vector = nullptr;  // of the view's dimension
  TopK* top = nullptr;            // the rows are pushed into it
};

// Which rows are compared, besides that they are live.
struct ExactScope {
  const RowFilter* filter = nullptr;                           // null: all
  uint64_t last_label = std::numeric_limits<uint64_t>::max();  // none that came later
  absl::Span<const uint64_t> left_out;                         // labels, ascending
};

struct ExactCount {
  int64_t live = 0;     // rows within last_label and not left out
  int64_t passing = 0;  // of these, that the filter lets pass
};

// Compares every row with every query, by floats; rows are read once for all queries, so many at
// once take a fraction of the time. What is live is asked when a row is read. Rows of tails that
// are newer than the view are not looked at: last_label is to be one that was applied when the view
// was pinned. The checkpoint is called for every 64 rows; an error it returns ends the scan and is
// passed on. Gives way to searches when the calling thread does background work.
absl::StatusOr<ExactCount> ScanExactly(const View& view, Metric metric, size_t dimension,
                                       absl::Span<const ExactQuery> queries,
                                       const ExactScope& scope,
                                       absl::FunctionRef<absl::Status()> checkpoint);

}  // namespace vecino::index
