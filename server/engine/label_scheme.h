// How the labels of an index are made of sequence numbers and passages.
#pragma once

#include <cstdint>

#include "storage/document.h"

namespace vecino::engine {

// In a chunked collection a document has a row for each passage, labelled
// sequence · 4,096 + number of the passage; elsewhere one, whose label is the sequence number.
// Labels ascend with sequence numbers, then with passages. The indexes of fields and of words have
// one row a document and go by sequence numbers always. A plain value.
class LabelScheme {
 public:
  constexpr LabelScheme() = default;
  static constexpr LabelScheme Chunked() { return LabelScheme(kShift); }

  constexpr bool chunked() const { return shift_ != 0; }
  constexpr uint64_t ToLabel(uint64_t sequence, uint64_t passage) const {
    return (sequence << shift_) | passage;
  }
  // The first and the last label that a row of this version may have.
  constexpr uint64_t First(uint64_t sequence) const { return ToLabel(sequence, 0); }
  constexpr uint64_t Last(uint64_t sequence) const { return ToLabel(sequence, mask()); }
  constexpr uint64_t SequenceOf(uint64_t label) const { return label >> shift_; }
  constexpr int PassageOf(uint64_t label) const { return static_cast<int>(label & mask()); }
  // The last version all of whose labels are at most `label`.
  constexpr uint64_t WholeThrough(uint64_t label) const {
    return (label & mask()) == mask() ? SequenceOf(label) : SequenceOf(label) - 1;
  }

 private:
  static constexpr int kShift = 12;
  static_assert(uint64_t{1} << kShift == storage::kMaxPassages);

  explicit constexpr LabelScheme(int shift) : shift_(shift) {}
  constexpr uint64_t mask() const { return (uint64_t{1} << shift_) - 1; }

  int shift_ = 0;
};

}  // namespace vecino::engine
