#include "server/fields/words_view.h"

#include <utility>

#include "server/fields/passing.h"

namespace vecino::fields {

WordsView::WordsView(const FieldIndex& index, const Filter* filter) {
  do {
    Look(index);
  } while (index.Pin() != view_);  // W1
  if (filter == nullptr) return;
  filtered_ = true;
  const Passing passing(view_, *filter);
  for (const size_t part : parts_) allowed_.push_back(passing.SlotsOf(part));
  auto& rows = allowed_.emplace_back((rows_.size() + 63) / 64);
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (passing.ChunkRow(static_cast<int>(i))) rows[i / 64] |= uint64_t{1} << (i % 64);
  }
}

void WordsView::Look(const FieldIndex& index) {
  view_ = index.Pin();
  parts_.clear();
  dead_.clear();
  rows_.clear();
  for (size_t i = 0; i < view_->parts.size(); ++i) {
    if (view_->parts[i].segment->postings() == nullptr) continue;
    parts_.push_back(i);
    dead_.push_back(view_->parts[i].dead->Snapshot());
  }
  const OpenChunk& chunk = *view_->chunk;
  dead_.push_back(chunk.dead().Snapshot());
  const int rows = chunk.size();
  for (int i = 0; i < rows; ++i) {
    const DocumentTerms& words = chunk.row(i).words;
    rows_.push_back(words.empty() ? nullptr : &words);
  }
}

std::vector<LexicalPart> WordsView::Parts(uint32_t group) const {
  std::vector<LexicalPart> parts;
  for (size_t i = 0; i <= parts_.size(); ++i) {
    LexicalPart& part = parts.emplace_back();
    if (i < parts_.size()) {
      part.postings = view_->parts[parts_[i]].segment->postings();
    } else {
      part.rows = rows_;
    }
    part.dead = dead_[i].data();
    if (filtered_) part.allowed = allowed_[i].data();
    part.group = group;
  }
  return parts;
}

uint64_t WordsView::Label(size_t part, uint32_t slot) const {
  return part < parts_.size() ? view_->parts[parts_[part]].segment->label(slot)
                              : view_->chunk->label(static_cast<int>(slot));
}

}  // namespace vecino::fields
