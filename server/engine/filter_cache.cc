#include "server/engine/filter_cache.h"

namespace vecino::engine {

size_t FilterCache::BytesOf(const Entry& entry) {
  return entry.bits->size() * sizeof(uint64_t) + 2 * entry.key.second.size() + 192;
}

FilterCache::Bits FilterCache::Find(uint64_t segment, const std::string& filter) {
  const Key key(segment, filter);
  absl::MutexLock lock(&mu_);
  const auto at = places_.find(key);
  if (at == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at->second);
  return at->second->bits;
}

bool FilterCache::Contains(uint64_t segment, const std::string& filter) const {
  const Key key(segment, filter);
  absl::MutexLock lock(&mu_);
  return places_.contains(key);
}

void FilterCache::Put(uint64_t segment, const std::string& filter, Bits bits) {
  Entry entry{{segment, filter}, std::move(bits)};
  const size_t bytes = BytesOf(entry);
  std::list<Entry> gone;  // freed without the lock
  absl::MutexLock lock(&mu_);
  if (bytes > max_bytes_ || places_.contains(entry.key)) return;
  entries_.push_front(std::move(entry));
  places_.emplace(entries_.front().key, entries_.begin());
  bytes_ += bytes;
  while (bytes_ > max_bytes_) {
    bytes_ -= BytesOf(entries_.back());
    places_.erase(entries_.back().key);
    gone.splice(gone.begin(), entries_, std::prev(entries_.end()));
  }
}

size_t FilterCache::bytes() const {
  absl::MutexLock lock(&mu_);
  return bytes_;
}

}  // namespace vecino::engine
