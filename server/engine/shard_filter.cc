#include "server/engine/shard_filter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/time/clock.h"
#include "server/fields/passing.h"
#include "server/index/segment.h"
#include "server/index/tail.h"

namespace vecino::engine {
namespace {

// With fewer rows than one in so many passing, each is looked up; otherwise all are walked through.
constexpr int64_t kFew = 32;
// Parts of fewer documents are walked through each time: a map would save little.
constexpr uint32_t kMinMapped = 4096;

using Words = std::vector<uint64_t>;

void Set(int64_t slot, Words* words) {
  (*words)[static_cast<size_t>(slot / 64)] |= uint64_t{1} << (slot % 64);
}

// passing: by sequence numbers.
Words BitsOf(const index::Segment& segment, LabelScheme labels, const fields::Passing& passing,
             SlotMaps* maps) {
  Words words(static_cast<size_t>((segment.size() + 63) / 64));
  const bool few = passing.size() * kFew < segment.size();
  const auto find = [&](uint64_t sequence) {
    // The passages of a live version that a segment has follow each other.
    for (uint64_t label = std::max(segment.first_label(), labels.First(sequence));
         label <= labels.Last(sequence); ++label) {
      const int64_t slot = segment.FindSlot(label);
      if (slot < 0) break;
      Set(slot, &words);
    }
  };
  // Rows and documents both go by ascending labels.
  int64_t row = -1;  // in that order, once it is known where the part begins
  const auto walk = [&](uint64_t sequence) {
    if (row < 0) row = CountBelow(segment, labels.First(sequence));
    for (; row < segment.size(); ++row) {
      const int64_t slot = segment.InLabelOrder(row);
      const uint64_t at = labels.SequenceOf(segment.label(slot));
      if (at > sequence) return;
      if (at == sequence) Set(slot, &words);
    }
  };
  const std::vector<fields::FieldPart>& parts = passing.view().parts;
  for (size_t part = 0; part <= parts.size(); ++part) {
    if (part < parts.size() && passing.Slots(part).isEmpty()) continue;
    if (maps != nullptr && part < parts.size() && parts[part].segment->size() >= kMinMapped) {
      const fields::FieldSegment& documents = *parts[part].segment;
      std::shared_ptr<const SlotMap> map = maps->Find(segment, documents);
      if (map == nullptr && !few) map = maps->Make(segment, labels, documents);
      if (map != nullptr) {
        map->AddRows(passing.Slots(part), &words);
        continue;
      }
    }
    if (few) {
      passing.ForEachIn(part, find);
    } else {
      row = -1;
      passing.ForEachIn(part, walk);
    }
  }
  return words;
}

}  // namespace

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
  const uint64_t id = segment.id();
  FilterCache::Rows rows = cache_ == nullptr ? nullptr : cache_->Find(id, filter_.key());
  if (rows == nullptr) {
    const fields::Passing passing(fields_.Pin(), filter_, labels_.SequenceOf(segment.first_label()),
                                  labels_.SequenceOf(segment.last_label()), cache_);
    rows = std::make_shared<const PassingRows>(segment, BitsOf(segment, labels_, passing, maps_),
                                               cache_ == nullptr ? 0 : cache_->most_code_bytes());
    if (cache_ != nullptr) cache_->Put(id, filter_.key(), rows);
  }
  FilterCache::Codes codes;
  if (cache_ != nullptr && counts_ && rows->codable()) {
    codes = cache_->FindCodes(id, filter_.key());
    if (codes == nullptr && std::find(counted_.begin(), counted_.end(), id) == counted_.end()) {
      counted_.push_back(id);
      if (rows->Use()) {
        codes = index::PassingCodes::Make(*index::AsIvf(segment), rows->words().data());
        cache_->PutCodes(id, filter_.key(), codes);
      }
    }
  }
  held_.push_back(rows);
  if (codes != nullptr) held_.push_back(codes);
  return {rows->words().data(), segment.size(), rows->passing(), codes.get()};
}

index::SlotBits ShardFilter::BitsOfTail(const index::Tail& tail) const {
  const int rows = tail.size();  // before the fields are looked at, which have them all then
  Words words(static_cast<size_t>((rows + 63) / 64) + 1);  // never null
  if (rows > 0) {
    const fields::Passing passing(fields_.Pin(), filter_, labels_.SequenceOf(tail.label(0)),
                                  labels_.SequenceOf(tail.label(rows - 1)), cache_);
    int slot = 0;
    const auto at = [&] { return labels_.SequenceOf(tail.label(slot)); };
    passing.ForEach([&](uint64_t sequence) {
      while (slot < rows && at() < sequence) ++slot;
      for (; slot < rows && at() == sequence; ++slot) Set(slot, &words);
    });
  }
  const auto held = std::make_shared<const Words>(std::move(words));
  held_.push_back(held);
  return {held->data(), rows};
}

}  // namespace vecino::engine
