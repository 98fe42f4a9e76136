// The best documents for some words.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/fields/document_terms.h"
#include "server/fields/postings.h"

namespace vecino::fields {

// One word that is looked for.
struct LexicalTerm {
  std::string term;
  uint32_t hash = 0;  // HashTerm(term)
  int count = 1;      // how often the query has it
};

// The different terms of a query's text, as Analyzer cuts it, in the order they first come. Empty
// when it has no words. Thread safe.
std::vector<LexicalTerm> LexicalTerms(std::string_view text);

// Documents in which is searched: a segment's, or rows that are in none yet. What the pointers lead
// to must stand still during the search.
struct LexicalPart {
  const Postings* postings = nullptr;          // null: rows
  std::span<const DocumentTerms* const> rows;  // by slot; null for a document without text
  // By slot, bit s % 64 of word s / 64; null: none is dead, all are allowed.
  const uint64_t* dead = nullptr;
  const uint64_t* allowed = nullptr;
  // Parts of one group compete; they stand together, groups in ascending order.
  uint32_t group = 0;

  uint32_t document_count() const {
    return postings != nullptr ? postings->document_count() : static_cast<uint32_t>(rows.size());
  }
};

struct LexicalHit {
  uint32_t part = 0, slot = 0;
  float score = 0;
};

// BM25 (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond"): the
// sum over terms of
//   count · ln(1 + (N - n + .5) / (n + .5)) · f (k1 + 1) / (f + k1 (1 - b + b l / L))
// N documents with words, n of them with the term, f times in this one, l its length as its norm
// tells it, L the mean length. N, n and L are of all parts together, dead documents included until
// a merge drops them; never negative by the 1 in the logarithm.
struct Bm25 {
  int k = 10;  // hits to return of each group, at least 1
  // Only hits above this score.
  float above = -std::numeric_limits<float>::infinity();
  float k1 = 1.2f, b = .75f;
};

// The best k live, allowed documents of each group that have one of the terms at least, group by
// group, best first; equal scores by part, then by slot. Exactly those that scoring every document
// would give: blocks and documents are passed over only where the sum of the highest scores that
// they could have is too low (MaxScore, Turtle and Flood 1995, over blocks as in Ding and Suel
// 2011). `checkpoint` is called between pieces of at most about a millisecond; its error is
// returned. Thread safe.
absl::StatusOr<std::vector<LexicalHit>> SearchBm25(std::span<const LexicalTerm> terms,
                                                   std::span<const LexicalPart> parts,
                                                   const Bm25& options,
                                                   absl::FunctionRef<absl::Status()> checkpoint);

}  // namespace vecino::fields
