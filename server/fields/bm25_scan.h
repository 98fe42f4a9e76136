// The parts of a search by BM25: the weight of a term, the best hits so far, one segment's scan.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "server/fields/bm25.h"

namespace vecino::fields {

// What a document's length counts for: k1 (1 - b + b l / L), by norm.
using LengthFactors = std::array<float, 256>;

// The score of one term in one document. Floats are rounded alike each time and every step is
// monotone: a higher frequency or a shorter document never scores less. That is what bounds rest
// on.
inline float TermScore(float weight, float length_factor, float frequency) {
  return weight / (1 + length_factor / frequency);
}

// The best k so far; hits are pushed in ascending order of part and slot, so among equal scores
// those that came first stay.
class LexicalTop {
 public:
  LexicalTop(int k, float above) : k_(static_cast<size_t>(k)), threshold_(above) {}

  // Hits at or below it cannot get in.
  float threshold() const { return threshold_; }
  // score: above threshold().
  void Push(const LexicalHit& hit);
  std::vector<LexicalHit> Take();

 private:
  size_t k_;
  float threshold_;
  std::vector<LexicalHit> heap_;  // the worst in front
};

// A term that a segment has.
struct SegmentTerm {
  uint32_t number = 0;  // of the term in the postings
  float weight = 0;
};

// Pushes the documents of one segment that may be among the best.
absl::Status ScanSegment(const LexicalPart& part, uint32_t part_number,
                         std::span<const SegmentTerm> terms, const LengthFactors& lengths,
                         absl::FunctionRef<absl::Status()> checkpoint, LexicalTop* top);

}  // namespace vecino::fields
