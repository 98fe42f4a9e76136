#include "server/engine/filter_cache.h"

#include <iterator>
#include <utility>

namespace vecino::engine {
namespace {

// Of an entry beside its value and its text, which stands in it twice.
constexpr size_t kEntryBytes = 192;

}  // namespace

FilterCache::Bits FilterCache::Find(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const std::vector<uint64_t>>(
      FindValue({Kind::kBits, segment, filter}));
}

bool FilterCache::Contains(uint64_t segment, const std::string& filter) const {
  return ContainsKey({Kind::kBits, segment, filter});
}

void FilterCache::Put(uint64_t segment, const std::string& filter, Bits bits) {
  const size_t bytes = bits->size() * sizeof(uint64_t);
  PutValue({Kind::kBits, segment, filter}, std::move(bits), bytes);
}

FilterCache::Slots FilterCache::FindSlots(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const Roaring>(FindValue({Kind::kSlots, segment, filter}));
}

bool FilterCache::ContainsSlots(uint64_t segment, const std::string& filter) const {
  return ContainsKey({Kind::kSlots, segment, filter});
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

bool FilterCache::ContainsKey(const Key& key) const {
  absl::MutexLock lock(&mu_);
  return places_.contains(key);
}

void FilterCache::PutValue(Key key, std::shared_ptr<const void> value, size_t bytes) {
  std::list<Entry> one, gone;  // made and freed without the lock
  one.push_back({std::move(key), std::move(value), 0});
  Entry& entry = one.front();
  entry.bytes = bytes + 2 * std::get<std::string>(entry.key).size() + kEntryBytes;
  absl::MutexLock lock(&mu_);
  if (entry.bytes > max_bytes_ || places_.contains(entry.key)) return;
  entries_.splice(entries_.begin(), one);
  places_.emplace(entry.key, entries_.begin());
  bytes_ += entry.bytes;
  while (bytes_ > max_bytes_) {
    bytes_ -= entries_.back().bytes;
    places_.erase(entries_.back().key);
    gone.splice(gone.begin(), entries_, std::prev(entries_.end()));
  }
}

size_t FilterCache::bytes() const {
  absl::MutexLock lock(&mu_);
  return bytes_;
}

}  // namespace vecino::engine
