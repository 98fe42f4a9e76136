#include "server/engine/slot_maps.h"

#include <algorithm>
#include <iterator>

namespace vecino::engine {
namespace {

void SetBit(uint32_t slot, std::vector<uint64_t>* words) {
  (*words)[slot / 64] |= uint64_t{1} << (slot % 64);
}

}  // namespace

int64_t CountBelow(const index::Segment& segment, uint64_t label) {
  int64_t low = 0;
  for (int64_t high = segment.size(); low < high;) {
    const int64_t middle = low + (high - low) / 2;
    if (segment.label(segment.InLabelOrder(middle)) < label) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

SlotMap::SlotMap(const index::Segment& vectors, LabelScheme scheme,
                 const fields::FieldSegment& documents) {
  const std::vector<uint64_t>& labels = documents.labels();
  const auto begin =
      std::lower_bound(labels.begin(), labels.end(), scheme.SequenceOf(vectors.first_label()));
  const auto end = std::upper_bound(begin, labels.end(), scheme.SequenceOf(vectors.last_label()));
  if (begin == end) return;
  first_ = static_cast<uint32_t>(begin - labels.begin());
  count_ = static_cast<uint32_t>(end - begin);
  int64_t row = CountBelow(vectors, scheme.First(*begin));
  rows_.reserve(count_);
  begins_.reserve(size_t{count_} + 1);
  bool one_each = true;
  for (auto at = begin; at != end; ++at) {
    begins_.push_back(static_cast<uint32_t>(rows_.size()));
    for (; row < vectors.size(); ++row) {
      const int64_t slot = vectors.InLabelOrder(row);
      const uint64_t document = scheme.SequenceOf(vectors.label(slot));
      if (document > *at) break;
      if (document == *at) rows_.push_back(static_cast<uint32_t>(slot));
    }
    one_each = one_each && rows_.size() == begins_.size();
  }
  begins_.push_back(static_cast<uint32_t>(rows_.size()));
  if (one_each) std::vector<uint32_t>().swap(begins_);
  rows_.shrink_to_fit();
}

void SlotMap::AddRows(const Roaring& passing, std::vector<uint64_t>* words) const {
  if (count_ == 0) return;
  const uint32_t end = first_ + count_;
  auto at = passing.begin();
  at.equalorlarger(first_);
  if (begins_.empty()) {
    for (; at != passing.end() && *at < end; ++at) SetBit(rows_[*at - first_], words);
    return;
  }
  for (; at != passing.end() && *at < end; ++at) {
    const uint32_t document = *at - first_;
    for (uint32_t i = begins_[document]; i < begins_[document + 1]; ++i) SetBit(rows_[i], words);
  }
}

int64_t SlotMap::bytes() const {
  return static_cast<int64_t>(sizeof(*this) +
                              (rows_.capacity() + begins_.capacity()) * sizeof(uint32_t));
}

int64_t SlotMaps::BytesOf(const Entry& entry) { return entry.map->bytes() + 128; }

std::shared_ptr<const SlotMap> SlotMaps::Find(const index::Segment& vectors,
                                              const fields::FieldSegment& documents) {
  std::list<Entry> gone;  // freed without the lock
  absl::MutexLock lock(&mu_);
  const auto at = places_.find(Key(vectors.id(), documents.id()));
  if (at == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at->second);
  std::shared_ptr<const SlotMap> map = at->second->map;
  MakeRoom(0, &gone);  // others may have taken memory since
  return map;
}

bool SlotMaps::MakeRoom(int64_t more, std::list<Entry>* gone) {
  const auto fits = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return bytes_ + more <= max_bytes_ &&
           (budget_ == nullptr || budget_->HasRoomFor(bytes_ + more));
  };
  while (!fits() && !entries_.empty()) {
    bytes_ -= BytesOf(entries_.back());
    places_.erase(entries_.back().key);
    gone->splice(gone->end(), entries_, std::prev(entries_.end()));
  }
  return fits();
}

std::shared_ptr<const SlotMap> SlotMaps::Make(const index::Segment& vectors, LabelScheme labels,
                                              const fields::FieldSegment& documents) {
  Entry entry{Key(vectors.id(), documents.id()),
              std::make_shared<const SlotMap>(vectors, labels, documents)};
  std::shared_ptr<const SlotMap> map = entry.map;
  const int64_t bytes = BytesOf(entry);
  if (bytes > max_bytes_) return map;
  std::list<Entry> gone;  // freed without the lock
  absl::MutexLock lock(&mu_);
  if (places_.contains(entry.key) || !MakeRoom(bytes, &gone)) return map;
  entries_.push_front(std::move(entry));
  places_.emplace(entries_.front().key, entries_.begin());
  bytes_ += bytes;
  return map;
}

int64_t SlotMaps::bytes() const {
  absl::MutexLock lock(&mu_);
  return bytes_;
}

}  // namespace vecino::engine
