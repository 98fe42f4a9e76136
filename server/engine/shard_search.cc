// How a shard is searched.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "server/engine/shard.h"
#include "server/index/give_way.h"
#include "server/index/search_report.h"

namespace vecino::engine {
namespace {

// Hits beyond what was asked for, to take the places of rows that have expired.
constexpr size_t kFirstSlack = 64;

// Rows to look for at first for each document wanted, and how much more each time that too few
// documents were among them.
constexpr size_t kFirstPassages = 3, kPassageGrowth = 4;

}  // namespace

Shard::Pinned Shard::Pin() const {
  Pinned pinned;
  // Before the view, which has these writes then; and of a newer one it does not matter.
  pinned.applied = applied_.load(std::memory_order_acquire);
  pinned.epoch = breadth_.epoch();
  // Before the view: what is no longer due then was tombstoned before, which the view shows.
  pinned.expired = Expired();
  pinned.view = index_.Pin();
  return pinned;
}

absl::StatusOr<std::vector<ShardHit>> Shard::Search(const float* query,
                                                    const index::SearchParams& params,
                                                    absl::FunctionRef<absl::Status()> checkpoint,
                                                    Pinned* pinned) const {
  index::NoteSearch();
  if (pinned == nullptr) return SearchPinned(Pin(), query, params, checkpoint);
  *pinned = Pin();
  return SearchPinned(*pinned, query, params, checkpoint);
}

absl::StatusOr<std::vector<ShardHit>> Shard::SearchPinned(
    const Pinned& pinned, const float* query, const index::SearchParams& params,
    absl::FunctionRef<absl::Status()> checkpoint) const {
  index::SearchParams filled = params;
  const index::IndexSpec spec = index_spec();
  if (filled.recall_target == 0) filled.recall_target = spec.recall_target;
  if (filled.nprobe == 0) filled.nprobe = spec.nprobe;
  if (filled.ef == 0) filled.ef = spec.ef_search;
  if (filled.corrections == nullptr) filled.corrections = &breadth_.corrections();
  const index::View& view = *pinned.view;
  if (options_.labels.chunked()) {
    return SearchPassages(pinned.expired, view, query, filled, checkpoint);
  }
  const auto rows = pinned.expired.empty()
                        ? index::Search(view, options_.metric, query, filled, checkpoint)
                        : SearchAround(pinned.expired, view, query, filled, checkpoint);
  if (!rows.ok()) return rows.status();
  std::vector<ShardHit> hits;
  hits.reserve(rows->size());
  for (const index::Hit& row : *rows) hits.push_back({row.label, row.score, 0});
  return hits;
}

int Shard::RowsFor(int k, size_t expired) const {
  const auto wanted = static_cast<size_t>(k);
  return static_cast<int>(options_.labels.chunked() ? kFirstPassages * wanted + kFirstSlack
                                                    : wanted + std::min(expired, kFirstSlack));
}

// As many hits beside rows that are to be left out: looks for more until enough are left.
absl::StatusOr<std::vector<index::Hit>> Shard::SearchAround(
    const std::vector<uint64_t>& left_out, const index::View& view, const float* query,
    index::SearchParams params, absl::FunctionRef<absl::Status()> checkpoint) const {
  const auto wanted = static_cast<size_t>(params.k);
  const size_t most = wanted + left_out.size();
  const index::SearchParams asked = params;
  size_t found_before = 0;
  for (size_t k = std::min(most, wanted + kFirstSlack);; k = std::min(most, 2 * k)) {
    const int slack = static_cast<int>(k - wanted);
    params.k = static_cast<int>(k);
    if (asked.aim_k > 0) params.aim_k = asked.aim_k + slack;
    if (asked.ef > 0) params.ef = asked.ef + slack;
    if (asked.rerank > 0) params.rerank = asked.rerank + slack;
    auto hits = index::Search(view, options_.metric, query, params, checkpoint);
    if (!hits.ok()) return hits.status();
    const size_t found = hits->size();
    std::erase_if(*hits, [&](const index::Hit& hit) {
      return std::binary_search(left_out.begin(), left_out.end(), hit.label);
    });
    if (hits->size() < wanted && k < most && found > found_before) {
      found_before = found;
      if (params.report != nullptr) params.report->Again();
      continue;
    }
    if (hits->size() > wanted) hits->resize(wanted);
    return hits;
  }
}

// The best documents of a chunked collection, each with its nearest passage: looks for more rows
// until enough documents are among them or there are no more rows.
absl::StatusOr<std::vector<ShardHit>> Shard::SearchPassages(
    const std::vector<uint64_t>& left_out, const index::View& view, const float* query,
    index::SearchParams params, absl::FunctionRef<absl::Status()> checkpoint) const {
  const auto wanted = static_cast<size_t>(params.k);
  const index::SearchParams asked = params;
  for (size_t k = kFirstPassages * wanted + kFirstSlack;; k *= kPassageGrowth) {
    const int slack = static_cast<int>(k - wanted);
    params.k = static_cast<int>(k);
    if (asked.ef > 0) params.ef = asked.ef + slack;
    if (asked.rerank > 0) params.rerank = asked.rerank + slack;
    const auto rows = index::Search(view, options_.metric, query, params, checkpoint);
    if (!rows.ok()) return rows.status();
    std::vector<ShardHit> hits;
    absl::flat_hash_set<uint64_t> seen;
    for (const index::Hit& row : *rows) {
      const uint64_t sequence = options_.labels.SequenceOf(row.label);
      if (!seen.insert(sequence).second) continue;
      if (std::binary_search(left_out.begin(), left_out.end(), sequence)) continue;
      hits.push_back({sequence, row.score, options_.labels.PassageOf(row.label)});
      if (hits.size() == wanted) return hits;
    }
    if (rows->size() < k) return hits;  // these are all that such a search finds
    if (params.report != nullptr) params.report->Again();
  }
}

bool Shard::MorePass(const index::RowFilter& filter, size_t count) const {
  const std::vector<uint64_t> due = Expired();  // before the view, as in Search
  absl::flat_hash_set<uint64_t> documents;      // of which several rows may pass
  index::ForEachPassing(*index_.Pin(), filter, [&](uint64_t label) {
    const uint64_t sequence = options_.labels.SequenceOf(label);
    if (!std::binary_search(due.begin(), due.end(), sequence)) documents.insert(sequence);
    return documents.size() <= count;
  });
  return documents.size() > count;
}

}  // namespace vecino::engine
