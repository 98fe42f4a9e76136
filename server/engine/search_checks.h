// What a search may ask for besides its query.
#pragma once

#include "absl/status/status.h"
#include "server/engine/types.h"

namespace vecino::engine {

// The most hits among which a search that pages, groups or diversifies chooses.
inline constexpr int kMaxRanked = Limits::kMaxPagedHits + Limits::kMaxTopK + Limits::kMaxTerms;

// Documents that a search looks at to find its groups, and beyond which it does not go to fill
// them.
inline constexpr int kMaxGroupCandidates = 10'000;
int GroupFillCandidates(int top_k, const GroupBy& group_by);

// Hits that `diversify` chooses from.
int DiverseCandidates(int top_k, const Diversify& diversify);

// Hits that are reranked, of a search with `reranking`; what they are scored against, empty where
// there is no text; and how many bytes they may take in memory.
int RerankCandidates(const SearchRequest& request);
std::string_view RerankQuery(const SearchRequest& request);
inline constexpr size_t kMaxRerankBytes = size_t{64} << 20;
// INVALID_ARGUMENT: they take more.
absl::Status TooMuchToRerank(const SearchRequest& request);

// top_k, min_score, group_by, diversify, after and reranking: ranges, and what goes together.
// INVALID_ARGUMENT naming the field, `page_token` for `after`.
absl::Status CheckShape(const SearchRequest& request);

// All that can be said of a request before anything is embedded or read.
absl::Status CheckSearch(const SearchRequest& request);

}  // namespace vecino::engine
