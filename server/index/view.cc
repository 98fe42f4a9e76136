#include "server/index/view.h"

#include <bit>

#include "server/index/ivf_search.h"
#include "server/index/top_k.h"

namespace vecino::index {
absl::StatusOr<std::vector<Hit>> Search(const View& view, Metric metric, const float* query,
                                        const SearchParams& params,
                                        absl::FunctionRef<absl::Status()> checkpoint) {
  TopK top(metric, params.k);
  std::vector<IvfPart> parts;
  for (const SegmentRows& rows : view.segments) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    const SlotBits allowed =
        params.filter == nullptr ? SlotBits{} : params.filter->OfSegment(*rows.segment);
    if (const IvfSegment* ivf = AsIvf(*rows.segment); ivf != nullptr) {
      // Neighbours of one generation are searched together, list by list. That keeps V3: the rows
      // of segments were there when the view was pinned, so the version that replaced a dead one is
      // either among them, wherever it is read, or in a tail, and tails come last.
      if (!parts.empty() && parts.front().segment->generation() != ivf->generation()) {
        absl::Status status = SearchIvf(parts, query, params, &top);
        if (!status.ok()) return status;
        parts.clear();
      }
      parts.push_back({ivf, rows.dead.get(), allowed.words, allowed.codes, allowed.passing});
      continue;
    }
    absl::Status status = rows.segment->Search(query, params, *rows.dead, allowed.words, &top);
    if (!status.ok()) return status;
  }
  if (!parts.empty()) {
    absl::Status status = SearchIvf(parts, query, params, &top);
    if (!status.ok()) return status;
  }
  auto search_tail = [&](const Tail& tail) {
    tail.Search(query, params.filter, &top, params.report);
  };
  for (const std::shared_ptr<Tail>& tail : view.frozen) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    search_tail(*tail);
  }
  // V3: rows that came after the pin may stand in tails newer than the view.
  for (const Tail* tail = view.tail.get(); tail != nullptr; tail = tail->next()) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    search_tail(*tail);
  }
  return top.Take();
}

namespace {

// False when `fn` did.
template <class Part>
bool ForEachOf(const Part& part, SlotBits bits, int64_t rows, const Tombstones& dead,
               absl::FunctionRef<bool(uint64_t label)> fn) {
  if (bits.words != nullptr) rows = bits.slots;
  for (int64_t begin = 0; begin < rows; begin += 64) {
    const auto at = static_cast<size_t>(begin / 64);
    uint64_t word = bits.words == nullptr ? ~uint64_t{0} : bits.words[at];
    if (rows - begin < 64) word &= (uint64_t{1} << (rows - begin)) - 1;
    for (word &= ~dead.word(at); word != 0; word &= word - 1) {
      if (!fn(part.label(static_cast<int>(begin) + std::countr_zero(word)))) return false;
    }
  }
  return true;
}

}  // namespace

void ForEachPassing(const View& view, const RowFilter& filter,
                    absl::FunctionRef<bool(uint64_t label)> fn) {
  for (const SegmentRows& rows : view.segments) {
    const Segment& segment = *rows.segment;
    if (!ForEachOf(segment, filter.OfSegment(segment), segment.size(), *rows.dead, fn)) return;
  }
  const auto of_tail = [&](const Tail& tail) {
    return ForEachOf(tail, filter.OfTail(tail), tail.size(), tail.tombstones(), fn);
  };
  for (const std::shared_ptr<Tail>& tail : view.frozen) {
    if (!of_tail(*tail)) return;
  }
  for (const Tail* tail = view.tail.get(); tail != nullptr; tail = tail->next()) {
    if (!of_tail(*tail)) return;
  }
}

}  // namespace vecino::index
