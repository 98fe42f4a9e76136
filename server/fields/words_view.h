// What a search for words looks at: the documents of one FieldIndex at one moment.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "server/fields/bm25.h"
#include "server/fields/field_index.h"
#include "server/fields/filter.h"

namespace vecino::fields {

// Invariants:
//  W1. Of a document that is replaced meanwhile it has at least one version: a tombstone is looked
//  at
//      before the rows are counted, and all of it in one view that was the current one throughout.
//
// Thread safety: immutable after construction; one search keeps it for as long as it runs.
class WordsView {
 public:
  // filter: null for none; not needed after construction. Looks again when the index swaps its view
  // meanwhile, which takes microseconds once in hundreds of writes.
  WordsView(const FieldIndex& index, const Filter* filter);
  WordsView(const WordsView&) = delete;
  WordsView& operator=(const WordsView&) = delete;

  // Parts that have words, oldest documents first. They point into this.
  std::vector<LexicalPart> Parts(uint32_t group) const;
  // The label of a slot of Parts()[part].
  uint64_t Label(size_t part, uint32_t slot) const;

 private:
  // Tombstones and rows of the current view.
  void Look(const FieldIndex& index);

  std::shared_ptr<const FieldView> view_;
  std::vector<size_t> parts_;  // of the view, those that have words
  // For each of these, and for the rows at the end.
  std::vector<std::vector<uint64_t>> dead_, allowed_;
  bool filtered_ = false;
  std::vector<const DocumentTerms*> rows_;  // null where there are no words
};

}  // namespace vecino::fields
