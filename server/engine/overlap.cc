#include "server/engine/overlap.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>

#include "absl/container/flat_hash_set.h"

namespace vecino::engine {
namespace {

constexpr double kPatience = 0.9;
constexpr size_t kIdsPerRead = 4096;
// Of documents some of which have no text.
constexpr int kSpare = 4;

absl::StatusOr<std::vector<std::string>> TopIds(const Collection& collection,
                                                const std::string& text, int top_k,
                                                const std::string& without,
                                                const CallContext& context) {
  SearchRequest request;
  request.query = TextQuery{text};
  request.top_k = without.empty() ? top_k : top_k + 1;
  request.parts = {.text = false, .metadata = false, .vector = false};
  auto found = collection.Search(request, context);
  if (!found.ok()) return found.status();
  std::vector<std::string> ids;
  for (SearchHit& hit : found->hits) {
    if (hit.document.id != without) ids.push_back(std::move(hit.document.id));
  }
  if (ids.size() > static_cast<size_t>(top_k)) ids.resize(static_cast<size_t>(top_k));
  return ids;
}

}  // namespace

double RankBiasedOverlap(std::span<const std::string> a, std::span<const std::string> b, double p) {
  const size_t depth = std::max(a.size(), b.size());
  if (depth == 0) return 0;
  absl::flat_hash_set<std::string_view> seen_a, seen_b;
  double sum = 0, weight = 1, agreement = 0;
  size_t common = 0;
  for (size_t d = 0; d < depth; ++d) {
    if (d < a.size()) {
      common += seen_b.contains(a[d]);
      seen_a.insert(a[d]);
    }
    if (d < b.size()) {
      common += seen_a.contains(b[d]);
      seen_b.insert(b[d]);
    }
    weight *= p;
    agreement = static_cast<double>(common) / static_cast<double>(d + 1);
    sum += agreement * weight;
  }
  return agreement * weight + (1 - p) / p * sum;
}

double OverlapOf(std::span<const std::string> a, std::span<const std::string> b) {
  const size_t most = std::max(a.size(), b.size());
  if (most == 0) return 0;
  const absl::flat_hash_set<std::string_view> of_a(a.begin(), a.end());
  const auto common =
      std::count_if(b.begin(), b.end(), [&](const std::string& id) { return of_a.contains(id); });
  return static_cast<double>(common) / static_cast<double>(most);
}

absl::StatusOr<std::vector<storage::Document>> SampleTexts(const Collection& collection, int count,
                                                           const CallContext& context) {
  // Algorithm R over all ids.
  const auto wanted = static_cast<size_t>(count) * kSpare;
  std::mt19937_64 random(1);  // NOLINT: the same sample each time
  std::vector<std::pair<int, uint64_t>> chosen;
  uint64_t seen = 0;
  const int64_t now_us = collection.NowUs();
  for (int shard = 0; shard < collection.shard_count(); ++shard) {
    std::string after;
    while (true) {
      if (absl::Status status = CheckCall(context, "sampling"); !status.ok()) return status;
      const auto ids = collection.log(shard).ListIds(after, kIdsPerRead);
      if (!ids.ok()) return ids.status();
      if (ids->empty()) break;
      after = ids->back().first;
      for (const auto& [id, entry] : *ids) {
        if (storage::IsExpired(entry.expire_time_us, now_us)) continue;
        ++seen;
        if (chosen.size() < wanted) {
          chosen.emplace_back(shard, entry.sequence);
        } else if (const uint64_t at = random() % seen; at < wanted) {
          chosen[at] = {shard, entry.sequence};
        }
      }
    }
  }
  std::shuffle(chosen.begin(), chosen.end(), random);
  std::vector<storage::Document> documents;
  for (const auto& place : chosen) {
    if (documents.size() == static_cast<size_t>(count)) break;
    auto found =
        collection.log(place.first)
            .GetDocuments({&place.second, 1}, {.text = true, .metadata = false, .vector = false});
    if (!found.ok()) return found.status();
    if (!found->front().has_value() || found->front()->text.empty()) continue;
    documents.push_back(*std::move(found->front()));
  }
  return documents;
}

absl::StatusOr<MigrationOverlap> MeasureOverlap(const Collection& old_side,
                                                const Collection& new_side,
                                                const std::vector<std::string>& queries, int top_k,
                                                const CallContext& context,
                                                std::vector<OverlapQuery>* asked) {
  MigrationOverlap overlap;
  overlap.top_k = top_k;
  overlap.own_texts = queries.empty();
  if (asked->empty()) {
    for (const std::string& query : queries) asked->push_back({query, ""});
  }
  if (asked->empty()) {
    auto documents = SampleTexts(old_side, MigrationRequest::kMaxQueries, context);
    if (!documents.ok()) return documents.status();
    for (storage::Document& document : *documents) {
      asked->push_back({std::move(document.text), std::move(document.id)});
    }
  }
  for (const auto& [text, without] : *asked) {
    const auto before = TopIds(old_side, text, top_k, without, context);
    if (!before.ok()) return before.status();
    const auto after = TopIds(new_side, text, top_k, without, context);
    if (!after.ok()) return after.status();
    if (before->empty() && after->empty()) continue;
    ++overlap.samples;
    overlap.overlap += OverlapOf(*before, *after);
    overlap.rank_biased += RankBiasedOverlap(*before, *after, kPatience);
  }
  if (overlap.samples > 0) {
    overlap.overlap /= overlap.samples;
    overlap.rank_biased /= overlap.samples;
  }
  return overlap;
}

}  // namespace vecino::engine
