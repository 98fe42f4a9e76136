// Hits that are near the query and unlike each other: maximal marginal relevance (Carbonell and
// Goldstein 1998, "The use of MMR, diversity-based reranking").
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/index/metric.h"

namespace vecino::engine {

// Which of n hits to take, in order: each next one has the highest
// lambda · sim(query, hit) - (1 - lambda) · max over those before of sim(before, hit); the first
// has the highest lambda · sim(query, hit). Of equal ones the earlier. sim is the score, its
// negative under L2. rows: n rows of d floats, row-major. scores: n, of the rows to the query.
// lambda: 0 to 1. count: hits to take; n of them at most. O(count · n · d). checkpoint: called
// before each choice; its error ends the work and is passed on.
absl::StatusOr<std::vector<size_t>> ChooseDiverseHits(index::Metric metric,
                                                      std::span<const float> rows, size_t d,
                                                      std::span<const float> scores, double lambda,
                                                      size_t count,
                                                      absl::FunctionRef<absl::Status()> checkpoint);

}  // namespace vecino::engine
