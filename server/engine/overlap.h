// How alike the answers by two embeddings of the same documents are.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/collection.h"
#include "server/engine/migration_info.h"

namespace vecino::engine {

// Rank-biased overlap of two rankings of distinct ids, extrapolated from what is seen (Webber,
// Moffat, Zobel 2010, equation 32): 1 for equal ones, 0 for those that share nothing. p: how far
// down a reader goes, above 0, below 1. 0 when both are empty.
double RankBiasedOverlap(std::span<const std::string> a, std::span<const std::string> b, double p);

// |a ∩ b| / max(|a|, |b|); 0 when both are empty.
double OverlapOf(std::span<const std::string> a, std::span<const std::string> b);

// Up to `count` documents of the collection with a text, chosen evenly by a fixed seed. Blocks for
// a scan of all ids.
absl::StatusOr<std::vector<storage::Document>> SampleTexts(const Collection& collection, int count,
                                                           const CallContext& context);

struct OverlapQuery {
  std::string text, without;  // id of the document that is left out; empty: none
};

// Asks both sides for the top k of each query; empty queries: of sampled texts, each without its
// own document. *asked: what is asked; chosen when it is empty, so that who tries again after an
// error need not choose again. Errors as of Collection::Search. samples is 0 where there is nothing
// to ask, or nothing to find.
absl::StatusOr<MigrationOverlap> MeasureOverlap(const Collection& old_side,
                                                const Collection& new_side,
                                                const std::vector<std::string>& queries, int top_k,
                                                const CallContext& context,
                                                std::vector<OverlapQuery>* asked);

}  // namespace vecino::engine
