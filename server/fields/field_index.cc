#include "server/fields/field_index.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

namespace vecino::fields {
namespace {

// A smaller part than this is not rewritten for its dead rows.
constexpr uint32_t kMinRewrite = 4096;

int64_t PostingsBytes(const FieldPart& part) {
  return part.segment->postings() == nullptr ? 0 : part.segment->postings()->bytes();
}

FieldIndex::MergeWork Gather(const FieldView& view, size_t first, size_t count) {
  FieldIndex::MergeWork work;
  for (size_t i = first; i < first + count; ++i) {
    work.sources.push_back(view.parts[i]);
    work.dead.push_back(view.parts[i].dead->Snapshot());
  }
  return work;
}

}  // namespace

void OpenChunk::Append(uint64_t label, Row row) {
  const auto at = static_cast<size_t>(size_.load(std::memory_order_relaxed));
  labels_[at] = label;
  rows_[at] = std::move(row);
  size_.store(static_cast<int>(at) + 1, std::memory_order_release);
}

bool OpenChunk::Kill(uint64_t label) {
  const auto end = labels_.begin() + size();
  const auto at = std::lower_bound(labels_.begin(), end, label);
  return at != end && *at == label && dead_.Kill(at - labels_.begin());
}

void FieldIndex::MergeWork::Run() {
  std::vector<const FieldSegment*> segments;
  for (const FieldPart& part : sources) segments.push_back(part.segment.get());
  segment = FieldSegment::Merge(segments, dead, &maps);
}

int64_t FieldIndex::MergeWork::bytes() const {
  int64_t bytes = 0;
  for (const FieldPart& part : sources) bytes += part.segment->bytes();
  return bytes;
}

uint64_t FieldIndex::MergeWork::rows() const {
  uint64_t rows = 0;
  for (const FieldPart& part : sources) rows += part.segment->size();
  return rows;
}

FieldIndex::FieldIndex() : chunk_(std::make_shared<OpenChunk>()), chunk_bytes_(sizeof(OpenChunk)) {
  auto view = std::make_shared<FieldView>();
  view->chunk = chunk_;
  Swap(std::move(view));
}

void FieldIndex::Swap(std::shared_ptr<const FieldView> view) {
  writer_view_ = view;
  part_bytes_ = 0;
  for (const FieldPart& part : view->parts) {
    part_bytes_ +=
        part.segment->bytes() + static_cast<int64_t>(part.dead->word_count() * sizeof(uint64_t));
  }
  std::shared_ptr<const FieldView> replaced;  // freed without the lock
  absl::MutexLock lock(&view_mu_);
  replaced = std::exchange(view_, std::move(view));
}

std::shared_ptr<const FieldView> FieldIndex::Pin() const {
  absl::MutexLock lock(&view_mu_);
  return view_;
}

void FieldIndex::Add(uint64_t label, Row row) {
  if (label <= last_label_) return;
  last_label_ = label;
  ++live_;
  chunk_bytes_ += HeapBytes(row);
  chunk_->Append(label, std::move(row));
  if (chunk_->full()) Seal();
}

bool FieldIndex::Remove(uint64_t label) {
  bool removed = chunk_->Kill(label);
  if (!removed) {
    const std::vector<FieldPart>& parts = writer_view_->parts;
    const auto at = std::partition_point(parts.begin(), parts.end(), [&](const FieldPart& part) {
      return part.segment->label(part.segment->size() - 1) < label;
    });
    if (at == parts.end()) return false;
    const uint32_t slot = at->segment->FindSlot(label);
    removed = slot != Columns::kGone && at->dead->Kill(slot);
  }
  if (removed) --live_;
  return removed;
}

void FieldIndex::AddPart(std::shared_ptr<const FieldSegment> segment,
                         const std::vector<uint64_t>& dead, uint64_t file) {
  auto tombstones = std::make_shared<index::Tombstones>(segment->size());
  for (uint32_t slot = 0; slot < segment->size() && slot / 64 < dead.size(); ++slot) {
    if ((dead[slot / 64] >> (slot % 64) & 1) != 0) tombstones->Kill(slot);
  }
  live_ += segment->size() - tombstones->dead();
  SetLastLabel(segment->label(segment->size() - 1));
  auto view = std::make_shared<FieldView>(*writer_view_);
  view->parts.push_back({std::move(segment), std::move(tombstones), file});
  Swap(std::move(view));
}

void FieldIndex::Seal() {
  const int rows = chunk_->size();
  if (rows == 0) return;
  std::vector<uint64_t> labels;
  std::vector<Row> copies;
  for (int i = 0; i < rows; ++i) {
    labels.push_back(chunk_->label(i));
    copies.push_back(chunk_->row(i));  // readers may still look at it
  }
  auto dead = std::make_shared<index::Tombstones>(rows);
  for (int i = 0; i < rows; ++i) {
    if (chunk_->dead().IsDead(i)) dead->Kill(i);
  }
  auto view = std::make_shared<FieldView>(*writer_view_);
  view->parts.push_back({FieldSegment::Build(std::move(labels), copies), std::move(dead), 0});
  chunk_ = std::make_shared<OpenChunk>();
  chunk_bytes_ = sizeof(OpenChunk);
  view->chunk = chunk_;
  Swap(std::move(view));
}

FieldIndex::Range FieldIndex::FindMerge(uint64_t max_rows) const {
  const std::vector<FieldPart>& parts = writer_view_->parts;
  for (uint64_t bound = OpenChunk::kRows * kFanOut; bound <= kMostRows; bound *= kFanOut) {
    for (size_t first = 0; first < parts.size();) {
      size_t end = first;
      uint64_t rows = 0;
      int64_t postings = 0;
      while (end < parts.size() && parts[end].segment->size() < bound &&
             rows + parts[end].segment->size() <= max_rows &&
             postings + PostingsBytes(parts[end]) <= kMostPostings) {
        rows += parts[end].segment->size();
        postings += PostingsBytes(parts[end]);
        ++end;
      }
      if (end - first >= kFanOut) return {first, end - first};
      first = std::max(end, first + 1);
    }
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    const uint32_t rows = parts[i].segment->size();
    if (rows >= kMinRewrite && rows <= max_rows && parts[i].dead->dead() * 3 > rows) return {i, 1};
  }
  return {};
}

std::optional<FieldIndex::MergeWork> FieldIndex::BeginMerge(uint64_t max_rows) const {
  const Range range = FindMerge(max_rows);
  if (range.count == 0) return std::nullopt;
  return Gather(*writer_view_, range.first, range.count);
}

uint64_t FieldIndex::SavedThrough() const {
  for (const FieldPart& part : writer_view_->parts) {
    if (part.file == 0) return part.segment->label(0) - 1;
  }
  return chunk_->size() > 0 ? chunk_->label(0) - 1 : std::numeric_limits<uint64_t>::max();
}

std::optional<FieldIndex::MergeWork> FieldIndex::BeginSave() const {
  const std::vector<FieldPart>& parts = writer_view_->parts;
  const auto unsaved = [](const FieldPart& part) { return part.file == 0; };
  const auto first = std::find_if(parts.begin(), parts.end(), unsaved);
  if (first == parts.end()) return std::nullopt;
  // Neighbours only: what has a file in between stays.
  int64_t postings = 0;
  const auto end = std::find_if_not(first, parts.end(), [&](const FieldPart& part) {
    postings += PostingsBytes(part);
    return unsaved(part) && (&part == &*first || postings <= kMostPostings);
  });
  return Gather(*writer_view_, static_cast<size_t>(first - parts.begin()),
                static_cast<size_t>(end - first));
}

bool FieldIndex::Publish(const MergeWork& work) {
  const std::vector<FieldPart>& parts = writer_view_->parts;
  const auto first = std::find_if(parts.begin(), parts.end(), [&](const FieldPart& part) {
    return part.segment == work.sources.front().segment;
  });
  const auto count = static_cast<ptrdiff_t>(work.sources.size());
  if (parts.end() - first < count) return false;
  for (ptrdiff_t i = 0; i < count; ++i) {
    if (first[i].segment != work.sources[static_cast<size_t>(i)].segment) return false;
  }
  auto view = std::make_shared<FieldView>();
  view->chunk = writer_view_->chunk;
  view->parts.assign(parts.begin(), first);
  if (work.segment != nullptr) {
    auto dead = std::make_shared<index::Tombstones>(work.segment->size());
    for (size_t s = 0; s < work.sources.size(); ++s) {
      const index::Tombstones& now = *work.sources[s].dead;
      for (size_t word = 0; word < now.word_count(); ++word) {
        for (uint64_t bits = now.word(word) & ~work.dead[s][word]; bits != 0; bits &= bits - 1) {
          dead->Kill(work.maps[s][word * 64 + static_cast<size_t>(std::countr_zero(bits))]);
        }
      }
    }
    view->parts.push_back({work.segment, std::move(dead), work.file});
  }
  view->parts.insert(view->parts.end(), first + count, parts.end());
  Swap(std::move(view));
  return true;
}

}  // namespace vecino::fields
