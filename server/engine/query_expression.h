// Queries that are sums: `king - man + woman`, or what documents have in common.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/types.h"

namespace vecino::engine {

// Appends the texts of a query that are to be embedded, in order: that of a TextQuery, also in a
// HybridQuery, those of an expression's terms, none of others. They belong to `request`.
void AppendTexts(const SearchRequest& request, std::vector<const TextQuery*>* texts);

// What can be said of a query before anything is embedded or read: number and weights of terms, and
// texts and ids of a query of any kind. INVALID_ARGUMENT naming the field, such as
// `expression.terms[2].text`.
absl::Status CheckQuery(const SearchRequest& request);

// `expression.terms[i].field`.
std::string TermField(size_t i, std::string_view field);

// The sum of weights[i] · vectors[i]; all have `dimension` values and, under cosine, length 1. The
// sum has length 1 under cosine. INVALID_ARGUMENT naming `expression` when it is zero under cosine,
// or so short beside its terms that it is nothing but rounding.
absl::StatusOr<std::vector<float>> SumTerms(Metric metric, int dimension,
                                            std::span<const float> weights,
                                            std::span<const std::vector<float>> vectors);

}  // namespace vecino::engine
