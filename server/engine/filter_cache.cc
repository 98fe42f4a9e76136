#include "server/engine/filter_cache.h"

#include <iterator>
#include <utility>

#include "server/index/bits.h"
#include "server/index/ivf_segment.h"
#include "server/index/segment.h"

namespace vecino::engine {
namespace {

// Of an entry beside its value and its text, which stands in it twice.
constexpr size_t kEntryBytes = 192;

}  // namespace

PassingRows::PassingRows(const index::Segment& segment, Words bits, size_t most_bytes)
    : words(std::make_shared<const Words>(std::move(bits))) {
  const index::IvfSegment* const ivf = index::AsIvf(segment);
  if (ivf == nullptr || segment.size() < kMinRows) return;
  const int64_t passing = index::CountBits(words->data(), words->size());
  const double share = static_cast<double>(passing) / static_cast<double>(segment.size());
  if (passing > 0 && share <= index::PassingCodes::kMostShare &&
      index::PassingCodes::BytesOf(*ivf, passing) <= most_bytes) {
    uses_left = kOften;
  }
}

FilterCache::Rows FilterCache::Find(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const PassingRows>(FindValue({Kind::kRows, segment, filter}));
}

FilterCache::Rows FilterCache::Peek(uint64_t segment, const std::string& filter) const {
  return std::static_pointer_cast<const PassingRows>(PeekValue({Kind::kRows, segment, filter}));
}

void FilterCache::Put(uint64_t segment, const std::string& filter, Rows rows) {
  const size_t bytes =
      rows->words->size() * sizeof(uint64_t) + (rows->codes != nullptr ? rows->codes->bytes() : 0);
  PutValue({Kind::kRows, segment, filter}, std::move(rows), bytes);
}

FilterCache::Slots FilterCache::FindSlots(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const Roaring>(FindValue({Kind::kSlots, segment, filter}));
}

bool FilterCache::ContainsSlots(uint64_t segment, const std::string& filter) const {
  return PeekValue({Kind::kSlots, segment, filter}) != nullptr;
}

void FilterCache::PutSlots(uint64_t segment, const std::string& filter, Slots slots) {
  const size_t bytes = slots->getSizeInBytes();
  PutValue({Kind::kSlots, segment, filter}, std::move(slots), bytes);
}

std::shared_ptr<const void> FilterCache::FindValue(const Key& key) {
  absl::MutexLock lock(&mu_);
  const auto at = places_.find(key);
  if (at == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at->second);
  return at->second->value;
}

std::shared_ptr<const void> FilterCache::PeekValue(const Key& key) const {
  absl::MutexLock lock(&mu_);
  const auto at = places_.find(key);
  return at == places_.end() ? nullptr : at->second->value;
}

void FilterCache::PutValue(Key key, std::shared_ptr<const void> value, size_t bytes) {
  std::list<Entry> one, gone;  // made and freed without the lock
  one.push_back({std::move(key), std::move(value), 0});
  Entry& entry = one.front();
  entry.bytes = bytes + 2 * std::get<std::string>(entry.key).size() + kEntryBytes;
  absl::MutexLock lock(&mu_);
  if (entry.bytes > max_bytes_) return;
  const auto drop = [&](std::list<Entry>::iterator old) {
    bytes_ -= old->bytes;
    places_.erase(old->key);
    gone.splice(gone.begin(), entries_, old);
  };
  if (const auto at = places_.find(entry.key); at != places_.end()) drop(at->second);
  entries_.splice(entries_.begin(), one);
  places_.emplace(entry.key, entries_.begin());
  bytes_ += entry.bytes;
  while (bytes_ > max_bytes_) drop(std::prev(entries_.end()));
}

size_t FilterCache::bytes() const {
  absl::MutexLock lock(&mu_);
  return bytes_;
}

}  // namespace vecino::engine
