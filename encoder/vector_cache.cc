#include "encoder/vector_cache.h"

#include "absl/strings/str_cat.h"

namespace vecino::encoder {
namespace {

// What list, map and allocations add to an entry, about.
constexpr size_t kOverhead = 192;

}  // namespace

std::string VectorCache::Key(int model, std::string_view text) {
  std::string key = absl::StrCat(model, ":");
  key.append(text);
  return key;
}

size_t VectorCache::BytesOf(const Item& item) {
  return item.first.size() + item.second.vector.size() * sizeof(float) + kOverhead;
}

std::optional<VectorCache::Entry> VectorCache::Find(int model, std::string_view text) {
  if (capacity_ == 0) return std::nullopt;
  const std::string key = Key(model, text);
  absl::MutexLock lock(&mu_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) {
    ++misses_;
    return std::nullopt;
  }
  ++hits_;
  items_.splice(items_.begin(), items_, found->second);
  return found->second->second;
}

void VectorCache::Add(int model, std::string_view text, Entry entry) {
  Items item;
  item.emplace_back(Key(model, text), std::move(entry));
  const size_t bytes = BytesOf(item.front());
  Items dropped;  // freed without the lock
  absl::MutexLock lock(&mu_);
  // One that takes more than an eighth would drive out too many others.
  if (bytes > capacity_ / 8 || by_key_.contains(item.front().first)) return;
  while (bytes_ + bytes > capacity_) {
    by_key_.erase(items_.back().first);
    bytes_ -= BytesOf(items_.back());
    dropped.splice(dropped.begin(), items_, std::prev(items_.end()));
  }
  bytes_ += bytes;
  items_.splice(items_.begin(), item);
  by_key_.emplace(items_.front().first, items_.begin());
}

int64_t VectorCache::hits() const {
  absl::MutexLock lock(&mu_);
  return hits_;
}

int64_t VectorCache::misses() const {
  absl::MutexLock lock(&mu_);
  return misses_;
}

size_t VectorCache::bytes() const {
  absl::MutexLock lock(&mu_);
  return bytes_;
}

}  // namespace vecino::encoder
