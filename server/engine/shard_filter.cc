#include "server/engine/shard_filter.h"

#include <utility>

#include "absl/time/clock.h"
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

Words BitsOf(const index::Segment& segment, const fields::Passing& passing) {
  Words words(static_cast<size_t>((segment.size() + 63) / 64));
  if (passing.size() * kFew < segment.size()) {
    passing.ForEach([&](uint64_t label) {
      if (const int64_t slot = segment.FindSlot(label); slot >= 0) Set(slot, &words);
    });
    return words;
  }
  // Both go by ascending labels.
  int64_t i = 0;
  int64_t slot = segment.InLabelOrder(0);
  uint64_t at = segment.label(slot);
  passing.ForEach([&](uint64_t label) {
    while (at < label) {
      if (++i == segment.size()) {
        at = std::numeric_limits<uint64_t>::max();
        return;
      }
      slot = segment.InLabelOrder(i);
      at = segment.label(slot);
    }
    if (at == label) Set(slot, &words);
  });
  return words;
}

}  // namespace

index::SlotBits ShardFilter::Hold(FilterCache::Bits bits, int64_t slots) const {
  held_.push_back(std::move(bits));
  return {held_.back()->data(), slots};
}

index::SlotBits ShardFilter::OfSegment(const index::Segment& segment) const {
  if (spent_ == nullptr) return BitsOfSegment(segment);
  const absl::Time start = absl::Now();
  const index::SlotBits bits = BitsOfSegment(segment);
  *spent_ += absl::Now() - start;
  return bits;
}

index::SlotBits ShardFilter::OfTail(const index::Tail& tail) const {
  if (spent_ == nullptr) return BitsOfTail(tail);
  const absl::Time start = absl::Now();
  const index::SlotBits bits = BitsOfTail(tail);
  *spent_ += absl::Now() - start;
  return bits;
}

index::SlotBits ShardFilter::BitsOfSegment(const index::Segment& segment) const {
  FilterCache::Bits bits = cache_ == nullptr ? nullptr : cache_->Find(segment.id(), filter_.key());
  if (bits == nullptr) {
    const fields::Passing passing(fields_.Pin(), filter_, segment.first_label(),
                                  segment.last_label());
    bits = std::make_shared<const Words>(BitsOf(segment, passing));
    if (cache_ != nullptr) cache_->Put(segment.id(), filter_.key(), bits);
  }
  return Hold(std::move(bits), segment.size());
}

index::SlotBits ShardFilter::BitsOfTail(const index::Tail& tail) const {
  const int rows = tail.size();  // before the fields are looked at, which have them all then
  Words words(static_cast<size_t>((rows + 63) / 64) + 1);  // never null
  if (rows > 0) {
    const fields::Passing passing(fields_.Pin(), filter_, tail.label(0), tail.label(rows - 1));
    int slot = 0;
    passing.ForEach([&](uint64_t label) {
      while (slot < rows && tail.label(slot) < label) ++slot;
      if (slot < rows && tail.label(slot) == label) Set(slot, &words);
    });
  }
  return Hold(std::make_shared<const Words>(std::move(words)), rows);
}

}  // namespace vecino::engine
