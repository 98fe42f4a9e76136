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
  return std::static_pointer_cast<const PassingRows>(
      FindValue(&others_, {Kind::kRows, segment, filter}));
}

FilterCache::Rows FilterCache::Peek(uint64_t segment, const std::string& filter) const {
  return std::static_pointer_cast<const PassingRows>(PeekValue({Kind::kRows, segment, filter}));
}

void FilterCache::Put(uint64_t segment, const std::string& filter, Rows rows) {
  const size_t bytes = rows->words().size() * sizeof(uint64_t);
  PutValue(&others_, {Kind::kRows, segment, filter}, std::move(rows), bytes);
}

FilterCache::Codes FilterCache::FindCodes(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const index::PassingCodes>(
      FindValue(&codes_, {Kind::kCodes, segment, filter}));
}

void FilterCache::PutCodes(uint64_t segment, const std::string& filter, Codes codes) {
  const size_t bytes = codes->bytes();
  PutValue(&codes_, {Kind::kCodes, segment, filter}, std::move(codes), bytes);
}

FilterCache::Slots FilterCache::FindSlots(uint64_t segment, const std::string& filter) {
  return std::static_pointer_cast<const Roaring>(
      FindValue(&others_, {Kind::kSlots, segment, filter}));
}

bool FilterCache::ContainsSlots(uint64_t segment, const std::string& filter) const {
  return PeekValue({Kind::kSlots, segment, filter}) != nullptr;
}

void FilterCache::PutSlots(uint64_t segment, const std::string& filter, Slots slots) {
  const size_t bytes = slots->getSizeInBytes();
  PutValue(&others_, {Kind::kSlots, segment, filter}, std::move(slots), bytes);
}

std::shared_ptr<const void> FilterCache::FindValue(Lru* lru, const Key& key) {
  absl::MutexLock lock(&mu_);
  const auto at = lru->places.find(key);
  if (at == lru->places.end()) return nullptr;
  lru->entries.splice(lru->entries.begin(), lru->entries, at->second);
  return at->second->value;
}

std::shared_ptr<const void> FilterCache::PeekValue(const Key& key) const {
  absl::MutexLock lock(&mu_);
  const auto at = others_.places.find(key);
  return at == others_.places.end() ? nullptr : at->second->value;
}

void FilterCache::PutValue(Lru* lru, Key key, std::shared_ptr<const void> value, size_t bytes) {
  std::list<Entry> one, gone;  // made and freed without the lock
  one.push_back({std::move(key), std::move(value), 0});
  Entry& entry = one.front();
  entry.bytes = bytes + 2 * std::get<std::string>(entry.key).size() + kEntryBytes;
  absl::MutexLock lock(&mu_);
  if (entry.bytes > lru->max_bytes || lru->places.contains(entry.key)) return;
  lru->entries.splice(lru->entries.begin(), one);
  lru->places.emplace(entry.key, lru->entries.begin());
  lru->bytes += entry.bytes;
  while (lru->bytes > lru->max_bytes) {
    lru->bytes -= lru->entries.back().bytes;
    lru->places.erase(lru->entries.back().key);
    gone.splice(gone.begin(), lru->entries, std::prev(lru->entries.end()));
  }
}

size_t FilterCache::bytes() const {
  absl::MutexLock lock(&mu_);
  return others_.bytes + codes_.bytes;
}

}  // namespace vecino::engine
