#include "server/engine/filter_texts.h"

#include <iterator>

namespace vecino::engine {

FilterTexts::Filter FilterTexts::Find(std::string_view text) {
  absl::MutexLock lock(&mu_);
  const auto at = places_.find(text);
  if (at == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at->second);
  return at->second->second;
}

absl::StatusOr<FilterTexts::Filter> FilterTexts::Read(std::string_view text) {
  if (Filter found = Find(text)) return found;
  auto filter = fields::Filter::Parse(text);
  if (!filter.ok() || text.size() > kMostBytes) return filter;
  std::list<Entry> one, gone;  // made and freed without the lock
  one.emplace_back(std::string(text), *filter);
  absl::MutexLock lock(&mu_);
  if (places_.contains(text)) return filter;
  entries_.splice(entries_.begin(), one);
  places_.emplace(entries_.front().first, entries_.begin());
  bytes_ += text.size();
  while (entries_.size() > kMost || bytes_ > kMostOfAll) {
    places_.erase(entries_.back().first);
    bytes_ -= entries_.back().first.size();
    gone.splice(gone.begin(), entries_, std::prev(entries_.end()));
  }
  return filter;
}

}  // namespace vecino::engine
