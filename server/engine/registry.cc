#include "server/engine/registry.h"

#include <algorithm>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vecino::engine {

namespace {

absl::Status NoSuchCollection(std::string_view id) {
  const std::string_view shown = id.substr(0, 80);  // may be any bytes
  return absl::NotFoundError(
      absl::StrCat("collection `", absl::CHexEscape({shown.data(), shown.size()}),
                   "` does not exist; create it first or list what there is"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Collection>> Registry::Find(std::string_view id) const {
  {
    absl::ReaderMutexLock lock(&mu_);
    if (const auto it = collections_.find(id); it != collections_.end()) return it->second;
    if (const auto it = aliases_.find(id); it != aliases_.end()) return it->second;
  }
  return NoSuchCollection(id);
}

absl::StatusOr<std::shared_ptr<Collection>> Registry::FindExact(std::string_view id) const {
  {
    absl::ReaderMutexLock lock(&mu_);
    if (const auto it = collections_.find(id); it != collections_.end()) return it->second;
  }
  return NoSuchCollection(id);
}

std::optional<std::string> Registry::AliasTarget(std::string_view id) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto it = aliases_.find(id);
  if (it == aliases_.end()) return std::nullopt;
  return it->second->id();
}

void Registry::SetAlias(std::string_view alias, std::shared_ptr<Collection> target) {
  absl::MutexLock lock(&mu_);
  aliases_.insert_or_assign(std::string(alias), std::move(target));
}

void Registry::EraseAlias(std::string_view alias) {
  absl::MutexLock lock(&mu_);
  if (const auto it = aliases_.find(alias); it != aliases_.end()) aliases_.erase(it);
}

std::vector<std::shared_ptr<Collection>> Registry::All() const {
  std::vector<std::shared_ptr<Collection>> all;
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [id, collection] : collections_) all.push_back(collection);
  return all;
}

void Registry::Insert(std::shared_ptr<Collection> collection) {
  absl::MutexLock lock(&mu_);
  std::string id = collection->id();
  collections_.emplace(std::move(id), std::move(collection));
}

void Registry::Erase(std::string_view id) {
  std::shared_ptr<Collection> last;  // freed after the lock
  absl::MutexLock lock(&mu_);
  if (const auto it = collections_.find(id); it != collections_.end()) {
    last = std::move(it->second);
    collections_.erase(it);
  }
}

void Registry::Replace(std::shared_ptr<Collection> collection) {
  std::shared_ptr<Collection> before;  // freed after the lock
  absl::MutexLock lock(&mu_);
  const auto it = collections_.find(collection->id());
  if (it == collections_.end()) return;
  before = std::exchange(it->second, collection);
  for (auto& [alias, target] : aliases_) {
    if (target == before) target = collection;
  }
}

void Registry::Clear() {
  absl::MutexLock lock(&mu_);
  aliases_.clear();
  collections_.clear();
}

Registry::Totals Registry::Sum() const {
  Totals totals;
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [id, collection] : collections_) {
    ++totals.collections;
    for (const ShardStats& shard : collection->Stats().shards) {
      totals.sums.live_documents += shard.live_documents;
      totals.sums.tail_rows += shard.tail_rows;
      totals.sums.index_lag = std::max(totals.sums.index_lag, shard.index_lag);
      totals.sums.segments += shard.segments;
      totals.sums.deleted_rows += shard.deleted_rows;
      totals.sums.tail_bytes += shard.tail_bytes;
      totals.sums.segment_bytes += shard.segment_bytes;
      totals.sums.field_bytes += shard.field_bytes;
      for (size_t i = 0; i < shard.drift.size() && i < totals.drift.size(); ++i) {
        const ShardStats::DriftInfo& signal = shard.drift[i];
        totals.drift[i].due += signal.due;
        if (signal.limit <= 0 || signal.value <= 0) continue;
        // Of recall the lowest is the worst, of all else the highest.
        const bool low = i == static_cast<size_t>(Drift::kRecall);
        double& worst = totals.drift[i].worst;
        worst = worst == 0 ? signal.value
                : low      ? std::min(worst, signal.value)
                           : std::max(worst, signal.value);
      }
    }
  }
  return totals;
}

}  // namespace vecino::engine
