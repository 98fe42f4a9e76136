#include "server/index/shard_index.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vecino::index {

ShardIndex::ShardIndex(const ShardIndexOptions& options)
    : options_(options),
      tails_out_(std::make_shared<std::atomic<bool>>(false)),
      segments_out_(std::make_shared<std::atomic<bool>>(false)) {
  auto view = std::make_shared<View>();
  view->tail = std::make_shared<Tail>(options_.metric, options_.dimension, options_.tail_capacity);
  Swap(std::move(view));
}

void ShardIndex::Swap(std::shared_ptr<const View> view) {
  writer_view_ = view;
  {
    absl::MutexLock lock(&view_mu_);
    view_.swap(view);
  }
  // The old view, and maybe the rows only it held, are freed here, outside of the lock.
}

std::shared_ptr<const View> ShardIndex::Pin() const {
  absl::MutexLock lock(&view_mu_);
  return view_;
}

void ShardIndex::FreezeTail() {
  if (writer_view_->tail->size() == 0) return;
  auto view = std::make_shared<View>(*writer_view_);
  auto tail = std::make_shared<Tail>(options_.metric, options_.dimension, options_.tail_capacity);
  view->tail->Link(tail);  // A3: before the first row goes into it
  view->frozen.push_back(std::exchange(view->tail, std::move(tail)));
  Swap(std::move(view));
}

void ShardIndex::Add(uint64_t label, const float* vector) {
  if (writer_view_->tail->full()) FreezeTail();
  writer_view_->tail->Append(label, vector);
}

bool ShardIndex::Remove(uint64_t label) {
  const View& view = *writer_view_;
  // V2: the newest part whose first label is not above `label` is the only one that can hold it.
  if (const int slot = view.tail->FindSlot(label); slot >= 0) return view.tail->Kill(slot);
  if (!view.frozen.empty() && view.frozen.front()->label(0) <= label) {
    const auto after =
        std::upper_bound(view.frozen.begin(), view.frozen.end(), label,
                         [](uint64_t l, const auto& tail) { return l < tail->label(0); });
    Tail& tail = **std::prev(after);
    const int slot = tail.FindSlot(label);
    return slot >= 0 && tail.Kill(slot);
  }
  const auto after = std::upper_bound(
      view.segments.begin(), view.segments.end(), label,
      [](uint64_t l, const auto& rows) { return l < rows.segment->first_label(); });
  if (after == view.segments.begin()) return false;
  const SegmentRows& rows = *std::prev(after);
  const int64_t slot = rows.segment->FindSlot(label);
  return slot >= 0 && rows.dead->Kill(slot);
}

namespace {

// The number of the first of `rows` labels that is not below `label`; label_at ascends.
template <typename LabelAt>
int64_t FirstNotBelow(int64_t rows, uint64_t label, LabelAt label_at) {
  int64_t low = 0;
  for (int64_t high = rows; low < high;) {
    const int64_t middle = low + (high - low) / 2;
    if (label_at(middle) < label) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace

bool ShardIndex::RemoveRange(uint64_t first, uint64_t last) {
  const View& view = *writer_view_;
  bool removed = false;
  // Newest first: what is removed is mostly new, and V2 lets the search for it end early.
  const auto remove_from = [&](Tail& tail) {
    const int rows = tail.size();
    const auto label = [&](int64_t slot) { return tail.label(static_cast<int>(slot)); };
    for (int64_t slot = FirstNotBelow(rows, first, label); slot < rows && label(slot) <= last;
         ++slot) {
      removed = tail.Kill(static_cast<int>(slot)) || removed;
    }
    return rows > 0 && label(0) <= first;
  };
  if (remove_from(*view.tail)) return removed;
  auto tail = std::upper_bound(view.frozen.begin(), view.frozen.end(), last,
                               [](uint64_t l, const auto& one) { return l < one->label(0); });
  while (tail != view.frozen.begin()) {
    if (remove_from(**--tail)) return removed;
  }
  auto rows =
      std::upper_bound(view.segments.begin(), view.segments.end(), last,
                       [](uint64_t l, const auto& one) { return l < one.segment->first_label(); });
  while (rows != view.segments.begin()) {
    --rows;
    const Segment& segment = *rows->segment;
    const auto label = [&](int64_t i) { return segment.label(segment.InLabelOrder(i)); };
    for (int64_t i = FirstNotBelow(segment.size(), first, label);
         i < segment.size() && label(i) <= last; ++i) {
      removed = rows->dead->Kill(segment.InLabelOrder(i)) || removed;
    }
    if (label(0) <= first) return removed;
  }
  return removed;
}

void ShardIndex::AddSegment(std::shared_ptr<const Segment> segment,
                            const std::vector<uint64_t>& dead) {
  auto view = std::make_shared<View>(*writer_view_);
  auto tombstones = std::make_shared<Tombstones>(segment->size());
  for (size_t i = 0; i < std::min(dead.size(), tombstones->word_count()); ++i) {
    for (uint64_t bits = dead[i]; bits != 0; bits &= bits - 1) {
      const int64_t slot = static_cast<int64_t>(i) * 64 + std::countr_zero(bits);
      if (slot < segment->size()) tombstones->Kill(slot);
    }
  }
  view->segments.push_back({std::move(segment), std::move(tombstones)});
  Swap(std::move(view));
}

absl::Status ShardIndex::ReplaceSegment(const Segment* segment,
                                        std::shared_ptr<const Segment> with) {
  auto view = std::make_shared<View>(*writer_view_);
  for (SegmentRows& rows : view->segments) {
    if (rows.segment.get() != segment) continue;
    if (with->size() != segment->size()) {
      return absl::InternalError(absl::StrCat("a segment of ", segment->size(),
                                              " rows was to be replaced by one of ", with->size()));
    }
    rows.segment = std::move(with);
    Swap(std::move(view));
    return absl::OkStatus();
  }
  return absl::InternalError("a segment that is not in the view was to be replaced");
}

std::optional<FrozenRows> ShardIndex::FreezeForDrain(int max_tails) {
  const View& view = *writer_view_;
  if (view.frozen.empty() || tails_out_->exchange(true, std::memory_order_acq_rel)) {
    return std::nullopt;
  }
  FrozenRows rows(std::make_shared<const FrozenRows::Hold>(tails_out_));
  const size_t count = std::min<size_t>(view.frozen.size(), std::max(max_tails, 1));
  for (size_t i = 0; i < count; ++i) rows.AddSource({.tail = view.frozen[i]});
  return rows;
}

std::optional<FrozenRows> ShardIndex::FreezeForMerge(size_t first, size_t count) {
  const View& view = *writer_view_;
  if (count == 0 || first + count > view.segments.size()) return std::nullopt;
  if (segments_out_->exchange(true, std::memory_order_acq_rel)) return std::nullopt;
  FrozenRows rows(std::make_shared<const FrozenRows::Hold>(segments_out_));
  for (size_t i = first; i < first + count; ++i) rows.AddSource({.segment = view.segments[i]});
  return rows;
}

std::optional<FrozenRows> ShardIndex::FreezeBehind(const FrozenRows& rows) {
  const std::vector<SegmentRows>& segments = writer_view_->segments;
  if (rows.hold_ == nullptr || rows.hold_->out != segments_out_) return std::nullopt;
  const Segment* const last = rows.sources_.back().segment.segment.get();
  auto behind = std::find_if(segments.begin(), segments.end(),
                             [&](const SegmentRows& one) { return one.segment.get() == last; });
  if (behind == segments.end() || ++behind == segments.end()) return std::nullopt;
  FrozenRows more(rows.hold_);
  for (; behind != segments.end(); ++behind) more.AddSource({.segment = *behind});
  return more;
}

absl::StatusOr<ShardIndex::Replacement> ShardIndex::Prepare(std::vector<Built> built) const {
  Replacement replacement;
  for (Built& one : built) {
    const auto& hold = one.rows.hold_;
    if (hold == nullptr || (hold->out != tails_out_ && hold->out != segments_out_)) {
      return absl::InternalError("rows of another index were published");
    }
    if ((one.segment == nullptr ? 0 : one.segment->size()) != one.rows.live()) {
      return absl::InternalError(absl::StrCat(
          "a segment of ", one.segment == nullptr ? 0 : one.segment->size(),
          " rows was published for ", one.rows.live(), " live rows; the build lost some"));
    }
    Replacement::Part part{std::move(one.rows), std::move(one.segment), nullptr, {}};
    if (part.segment != nullptr) part.dead = std::make_shared<Tombstones>(part.segment->size());
    for (const FrozenRows::Source& source : part.rows.sources_) {
      Replacement::Taken& taken = part.taken.emplace_back();
      taken.words = source.dead;
      for (const uint64_t word : taken.words) taken.dead += std::popcount(word);
    }
    replacement.parts_.push_back(std::move(part));
  }
  if (absl::Status status = CatchUp(&replacement); !status.ok()) return status;
  return replacement;
}

// I3: the builder left out what was dead at Freeze. What died since is found as the difference of
// the tombstones. Bits never go back (T1), so as many dead as were taken over means that nothing
// died since; the writer alone counts them, so under its lock the number is exact.
absl::Status ShardIndex::CatchUp(Replacement* replacement) const {
  for (Replacement::Part& part : replacement->parts_) {
    for (size_t s = 0; s < part.taken.size(); ++s) {
      const FrozenRows::Source& source = part.rows.sources_[s];
      const Tombstones& now = source.tombstones();
      Replacement::Taken& taken = part.taken[s];
      if (now.dead() == taken.dead) continue;
      for (size_t i = 0; i < taken.words.size(); ++i) {
        for (uint64_t died = now.word(i) & ~taken.words[i]; died != 0; died &= died - 1) {
          const int64_t slot = static_cast<int64_t>(i) * 64 + std::countr_zero(died);
          const int64_t found =
              part.segment == nullptr ? -1 : part.segment->FindSlot(source.label(slot));
          if (found < 0) {
            return absl::InternalError(absl::StrCat("the published segment lacks label ",
                                                    source.label(slot), ", which it should hold"));
          }
          part.dead->Kill(found);
          taken.words[i] |= uint64_t{1} << (slot % 64);
          ++taken.dead;
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ShardIndex::Publish(Replacement* replacement) {
  // Nothing can die between here and Swap, because Remove needs the caller's lock too.
  if (absl::Status status = CatchUp(replacement); !status.ok()) return status;
  // While the rows were out nobody else took their sources away, so they still stand together; the
  // writer can only have frozen more tails behind them, and a drain can only have put a segment
  // behind the segments.
  auto view = std::make_shared<View>(*writer_view_);
  for (Replacement::Part& part : replacement->parts_) {
    const std::vector<FrozenRows::Source>& sources = part.rows.sources_;
    const auto count = static_cast<ptrdiff_t>(sources.size());
    auto place = view->segments.end();
    if (sources.front().tail != nullptr) {
      view->frozen.erase(view->frozen.begin(), view->frozen.begin() + count);
    } else {
      place =
          std::find_if(view->segments.begin(), view->segments.end(), [&](const auto& candidate) {
            return candidate.segment == sources.front().segment.segment;
          });
      if (view->segments.end() - place < count) {
        return absl::InternalError("segments that are not in the view were to be replaced");
      }
      place = view->segments.erase(place, place + count);
    }
    if (part.segment != nullptr) view->segments.insert(place, {part.segment, part.dead});
  }
  replacement->replaced_ = writer_view_;
  Swap(std::move(view));
  return absl::OkStatus();
}

absl::Status ShardIndex::Publish(FrozenRows rows, std::shared_ptr<const Segment> segment) {
  std::vector<Built> built;
  built.push_back({std::move(rows), std::move(segment)});
  auto replacement = Prepare(std::move(built));
  if (!replacement.ok()) return replacement.status();
  return Publish(&*replacement);
}

void ShardIndex::Abandon(FrozenRows rows) {
  // Taking the rows by value has already ended their life; see FrozenRows::Hold.
}

uint64_t ShardIndex::DrainedThrough(uint64_t last) const {
  const View& view = *writer_view_;
  if (!view.frozen.empty()) return view.frozen.front()->label(0) - 1;
  if (view.tail->size() > 0) return view.tail->label(0) - 1;
  return last;
}

ShardIndexStats ShardIndex::Stats() const {
  const View& view = *writer_view_;
  ShardIndexStats stats;
  int64_t rows = 0;
  auto add_tail = [&](const Tail& tail) {
    stats.tail_rows += tail.size();
    stats.tail_bytes += tail.bytes();
    stats.dead_rows += tail.dead();
  };
  for (const SegmentRows& segment : view.segments) {
    stats.segments.push_back(
        {segment.segment->kind(), segment.segment->size(), segment.dead->dead()});
    stats.segment_memory += segment.segment->memory();
    stats.dead_rows += segment.dead->dead();
    rows += segment.segment->size();
  }
  for (const std::shared_ptr<Tail>& tail : view.frozen) add_tail(*tail);
  add_tail(*view.tail);
  stats.frozen_tails = static_cast<int>(view.frozen.size());
  if (!view.frozen.empty()) stats.lag = view.frozen.front()->SinceLink();
  stats.live_rows = rows + stats.tail_rows - stats.dead_rows;
  return stats;
}

}  // namespace vecino::index
