#include "server/engine/shard_filter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "server/fields/passing.h"
#include "server/index/segment.h"
#include "server/index/tail.h"

namespace vecino::engine {
namespace {

// With fewer rows than one in so many passing, each is looked up; otherwise all are walked through.
constexpr int64_t kFew = 32;

using Words = std::vector<uint64_t>;

void Set(int64_t slot, Words* words) {
  (*words)[static_cast<size_t>(slot / 64)] |= uint64_t{1} << (slot % 64);
}

// passing: by sequence numbers.
Words BitsOf(const index::Segment& segment, LabelScheme labels, const fields::Passing& passing) {
  Words words(static_cast<size_t>((segment.size() + 63) / 64));
  const uint64_t first = segment.first_label();
  if (passing.size() * kFew < segment.size()) {
    passing.ForEach([&](uint64_t sequence) {
      // The passages of a live version that a segment has follow each other.
      for (uint64_t label = std::max(first, labels.First(sequence)); label <= labels.Last(sequence);
           ++label) {
        const int64_t slot = segment.FindSlot(label);
        if (slot < 0) break;
        Set(slot, &words);
      }
    });
    return words;
  }
  // Both go by ascending labels.
  int64_t i = 0;
  int64_t slot = segment.InLabelOrder(0);
  uint64_t at = labels.SequenceOf(first);
  const auto next = [&] {
    if (++i == segment.size()) {
      at = std::numeric_limits<uint64_t>::max();
      return;
    }
    slot = segment.InLabelOrder(i);
    at = labels.SequenceOf(segment.label(slot));
  };
  passing.ForEach([&](uint64_t sequence) {
    while (at < sequence) next();
    for (; at == sequence; next()) Set(slot, &words);
  });
  return words;
}

}  // namespace

index::SlotBits ShardFilter::Hold(FilterCache::Bits bits, int64_t slots) const {
  held_.push_back(std::move(bits));
  return {held_.back()->data(), slots};
}

index::SlotBits ShardFilter::OfSegment(const index::Segment& segment) const {
  FilterCache::Bits bits = cache_ == nullptr ? nullptr : cache_->Find(segment.id(), filter_.key());
  if (bits == nullptr) {
    const fields::Passing passing(fields_.Pin(), filter_, labels_.SequenceOf(segment.first_label()),
                                  labels_.SequenceOf(segment.last_label()));
    bits = std::make_shared<const Words>(BitsOf(segment, labels_, passing));
    if (cache_ != nullptr) cache_->Put(segment.id(), filter_.key(), bits);
  }
  return Hold(std::move(bits), segment.size());
}

index::SlotBits ShardFilter::OfTail(const index::Tail& tail) const {
  const int rows = tail.size();  // before the fields are looked at, which have them all then
  Words words(static_cast<size_t>((rows + 63) / 64) + 1);  // never null
  if (rows > 0) {
    const fields::Passing passing(fields_.Pin(), filter_, labels_.SequenceOf(tail.label(0)),
                                  labels_.SequenceOf(tail.label(rows - 1)));
    int slot = 0;
    const auto at = [&] { return labels_.SequenceOf(tail.label(slot)); };
    passing.ForEach([&](uint64_t sequence) {
      while (slot < rows && at() < sequence) ++slot;
      for (; slot < rows && at() == sequence; ++slot) Set(slot, &words);
    });
  }
  return Hold(std::make_shared<const Words>(std::move(words)), rows);
}

}  // namespace vecino::engine
