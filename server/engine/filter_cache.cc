#include "server/engine/filter_cache.h"

#include <algorithm>
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
    : words_(std::move(bits)), passing_(index::CountBits(words_.data(), words_.size())) {
  const index::IvfSegment* const ivf = index::AsIvf(segment);
  if (ivf == nullptr || segment.size() < kMinRows || passing_ == 0) return;
  const double share = static_cast<double>(passing_) / static_cast<double>(segment.size());
  codable_ = share <= index::PassingCodes::kMostShare &&
             index::PassingCodes::BytesOf(*ivf, passing_) <= most_bytes;
}

bool PassingRows::Use() const {
  if (!codable_) return false;
  const int wait = wait_.load();
  if (uses_.fetch_add(1) + 1 != wait) return false;
  wait_.store(std::min(2 * wait, kMostOften));
  uses_.store(0);
  return true;
}

FilterCache::Rows FilterCache::Find(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const PassingRows>(others_.Find({Kind::kRows, segment, filter}));
}

FilterCache::Rows FilterCache::Peek(uint64_t segment, const std::string& filter) const {
  return std::static_pointer_cast<const PassingRows>(others_.Peek({Kind::kRows, segment, filter}));
}

void FilterCache::Put(uint64_t segment, const std::string& filter, Rows rows) {
  const size_t bytes = rows->words().size() * sizeof(uint64_t);
  others_.Put({Kind::kRows, segment, filter}, std::move(rows), bytes);
}

FilterCache::Codes FilterCache::FindCodes(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const index::PassingCodes>(
      codes_.Find({Kind::kRows, segment, filter}));
}

void FilterCache::PutCodes(uint64_t segment, const std::string& filter, Codes codes) {
  const size_t bytes = codes->bytes();
  codes_.Put({Kind::kRows, segment, filter}, std::move(codes), bytes);
}

FilterCache::Slots FilterCache::FindSlots(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const Roaring>(others_.Find({Kind::kSlots, segment, filter}));
}

bool FilterCache::ContainsSlots(uint64_t segment, const std::string& filter) const {
  return others_.Peek({Kind::kSlots, segment, filter}) != nullptr;
}

void FilterCache::PutSlots(uint64_t segment, const std::string& filter, Slots slots) {
  const size_t bytes = slots->getSizeInBytes();
  others_.Put({Kind::kSlots, segment, filter}, std::move(slots), bytes);
}

std::shared_ptr<const void> FilterCache::Lru::Find(const Key& key) {
  absl::MutexLock lock(&mu_);
  const auto at = places_.find(key);
  if (at == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at->second);
  return at->second->value;
}

std::shared_ptr<const void> FilterCache::Lru::Peek(const Key& key) const {
  absl::MutexLock lock(&mu_);
  const auto at = places_.find(key);
  return at == places_.end() ? nullptr : at->second->value;
}

void FilterCache::Lru::Put(Key key, std::shared_ptr<const void> value, size_t bytes) {
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

size_t FilterCache::Lru::bytes() const {
  absl::MutexLock lock(&mu_);
  return bytes_;
}

}  // namespace vecino::engine
