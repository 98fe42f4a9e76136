#include "server/index/calibration_rows.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/algorithm/container.h"
#include "server/index/kmeans.h"
#include "server/index/near_copies.h"
#include "server/index/top_k.h"
#include "server/index/training.h"

namespace vecino::index {
namespace {

std::vector<float> VectorsOf(const AllRows& all, absl::Span<const int64_t> rows) {
  const auto d = static_cast<size_t>(all.first().dimension());
  std::vector<float> vectors;
  vectors.reserve(rows.size() * d);
  for (const int64_t row : rows) {
    const float* vector = all.vector(row);
    vectors.insert(vectors.end(), vector, vector + d);
  }
  return vectors;
}

BestRows Take(std::vector<TopK>* tops) {
  BestRows best;
  for (TopK& top : *tops) {
    std::vector<int64_t>& of_query = best.emplace_back();
    for (const Hit& hit : top.Take()) of_query.push_back(static_cast<int64_t>(hit.label));
  }
  return best;
}

void Drop(const std::vector<int64_t>& some, std::vector<int64_t>* rows) {
  std::erase_if(*rows, [&](int64_t row) { return absl::c_linear_search(some, row); });
}

}  // namespace

AllRows::AllRows(absl::Span<const CalibrationPart> parts) {
  for (const CalibrationPart& part : parts) {
    segments_.push_back(part.segment);
    begin_.push_back(size_);
    Tombstones& dead = dead_.emplace_back(part.segment->size());
    for (size_t i = 0; part.dead != nullptr && i < dead.word_count(); ++i) {
      for (uint64_t bits = part.dead->word(i); bits != 0; bits &= bits - 1) {
        dead.Kill(static_cast<int64_t>(i * 64) + std::countr_zero(bits));
      }
    }
    size_ += part.segment->size();
    live_ += part.segment->size() - dead.dead();
  }
}

AllRows::Place AllRows::Find(int64_t row) const {
  const auto after = std::upper_bound(begin_.begin(), begin_.end(), row);
  const auto part = static_cast<size_t>(after - begin_.begin()) - 1;
  return {part, row - begin_[part]};
}

std::vector<IvfPart> AllRows::Parts(const std::vector<std::vector<uint64_t>>& allowed) const {
  std::vector<IvfPart> parts;
  for (size_t part = 0; part < segments_.size(); ++part) {
    parts.push_back(
        {segments_[part], &dead_[part], allowed.empty() ? nullptr : allowed[part].data()});
  }
  return parts;
}

std::vector<uint32_t> AllRows::Lists() const {
  std::vector<uint32_t> list_of(static_cast<size_t>(size_));
  for (size_t part = 0; part < segments_.size(); ++part) {
    const IvfSegment& segment = *segments_[part];
    const auto of_part = list_of.begin() + begin_[part];
    for (int list = 0; list < segment.generation()->nlist(); ++list) {
      std::fill(of_part + segment.list_begin(list), of_part + segment.list_begin(list + 1),
                static_cast<uint32_t>(list));
    }
  }
  return list_of;
}

std::vector<int64_t> AllRows::Draw(int queries, uint64_t seed) const {
  std::mt19937_64 random(seed);
  std::vector<int64_t> rows;
  if (first().generation()->held_out()) {
    for (size_t part = 0; part < segments_.size(); ++part) {
      const IvfSegment& segment = *segments_[part];
      for (int64_t slot = 0; slot < segment.size(); ++slot) {
        if (IsHeldOut(segment.label(slot)) && !dead_[part].IsDead(slot)) {
          rows.push_back(begin_[part] + slot);
        }
      }
    }
  }
  // Of few rows hardly any were left out; then others ask, too.
  const auto wanted = static_cast<size_t>(std::min<int64_t>(queries, size_));
  if (rows.size() < wanted / 2) {
    rows.clear();
    for (size_t i = 0; i < wanted; ++i) {
      rows.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(size_)));
    }
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    std::erase_if(rows, [&](int64_t row) { return IsDead(row); });
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    std::swap(rows[i], rows[i + random() % (rows.size() - i)]);
    if (i == wanted) break;
  }
  if (rows.size() > wanted) rows.resize(wanted);
  return rows;
}

absl::StatusOr<BestRows> BestOfAll(const AllRows& all, absl::Span<const int64_t> rows, int k,
                                   Checkpoint checkpoint, int threads) {
  const Metric metric = all.first().metric();
  const auto d = static_cast<size_t>(all.first().dimension());
  const size_t count = rows.size(), wanted = static_cast<size_t>(k);
  const std::vector<float> queries = VectorsOf(all, rows);
  std::vector<TopK> tops(count, TopK(metric, k));
  std::vector<int64_t> best(count * wanted), self(count);
  std::vector<float> scores(best.size());
  for (size_t part = 0; part < all.segments().size(); ++part) {
    const IvfSegment& segment = *all.segments()[part];
    for (size_t i = 0; i < count; ++i) {
      const AllRows::Place place = all.Find(rows[i]);
      self[i] = place.part == part ? place.slot : -1;
    }
    absl::Status status =
        BruteForceTopK(segment.vector(0), static_cast<size_t>(segment.size()), d, metric,
                       queries.data(), count, self.data(), k, best.data(), scores.data(),
                       checkpoint, threads, BestCpuLevel(), &all.dead(part));
    if (!status.ok()) return status;
    for (size_t i = 0; i < best.size(); ++i) {
      if (best[i] < 0) continue;
      tops[i / wanted].Push(static_cast<uint64_t>(all.begin(part) + best[i]), scores[i]);
    }
  }
  return Take(&tops);
}

BestRows TakeNearCopies(const AllRows& all, absl::Span<const int64_t> rows, BestRows* best) {
  std::vector<Neighbours> neighbours;
  for (size_t i = 0; i < rows.size(); ++i) {
    Neighbours& of_query = neighbours.emplace_back(Neighbours{all.vector(rows[i]), {}});
    const std::vector<int64_t>& ranked = (*best)[i];
    for (size_t j = 0; j < std::min(ranked.size(), NearCopyRule::kKnown); ++j) {
      of_query.best.push_back(all.vector(ranked[j]));
    }
  }
  const auto is_copy = FindNearCopies(all.first().metric(), neighbours,
                                      static_cast<size_t>(all.first().dimension()));
  BestRows copies(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < is_copy[i].size(); ++j) {
      if (is_copy[i][j]) copies[i].push_back((*best)[i][j]);
    }
    Drop(copies[i], &(*best)[i]);
  }
  return copies;
}

absl::StatusOr<BestRows> BestOfShare(const AllRows& all, const RandomShare& share,
                                     absl::Span<const int64_t> rows, const BestRows& without, int k,
                                     Checkpoint checkpoint, int threads) {
  const Metric metric = all.first().metric();
  const auto d = static_cast<size_t>(all.first().dimension());
  // Before those are taken out.
  const size_t count = rows.size(), wanted = static_cast<size_t>(k) + NearCopyRule::kMost;
  const std::vector<float> queries = VectorsOf(all, rows);
  std::vector<std::pair<int64_t, size_t>> by_row;  // queries in order of their rows
  for (size_t i = 0; i < count; ++i) by_row.push_back({rows[i], i});
  std::sort(by_row.begin(), by_row.end());
  std::vector<TopK> tops(count, TopK(metric, static_cast<int>(wanted)));
  std::vector<int64_t> best(count * wanted), self(count, -1), numbers;
  std::vector<float> scores(best.size()), copies;
  size_t next_query = 0;
  const auto flush = [&]() -> absl::Status {
    absl::Status status =
        BruteForceTopK(copies.data(), numbers.size(), d, metric, queries.data(), count, self.data(),
                       static_cast<int>(wanted), best.data(), scores.data(), checkpoint, threads);
    if (!status.ok()) return status;
    for (size_t i = 0; i < best.size(); ++i) {
      if (best[i] < 0) continue;
      const int64_t row = numbers[static_cast<size_t>(best[i])];
      tops[i / wanted].Push(static_cast<uint64_t>(row), scores[i]);
    }
    numbers.clear();
    copies.clear();
    std::fill(self.begin(), self.end(), -1);
    return absl::OkStatus();
  };
  int64_t row = 0;
  for (size_t part = 0; part < all.segments().size(); ++part) {
    const IvfSegment& segment = *all.segments()[part];
    for (int64_t slot = 0; slot < segment.size(); ++slot, ++row) {
      const bool is_query = next_query < count && by_row[next_query].first == row;
      if (share.Has(row) && !all.dead(part).IsDead(slot)) {
        const float* vector = segment.vector(slot);
        copies.insert(copies.end(), vector, vector + d);
        if (is_query) self[by_row[next_query].second] = static_cast<int64_t>(numbers.size());
        numbers.push_back(row);
      }
      next_query += is_query;
      if (numbers.size() == static_cast<size_t>(kMostCopied)) {
        if (absl::Status status = flush(); !status.ok()) return status;
      }
    }
  }
  if (!numbers.empty()) {
    if (absl::Status status = flush(); !status.ok()) return status;
  }
  BestRows best_rows = Take(&tops);
  for (size_t i = 0; i < count; ++i) {
    Drop(without[i], &best_rows[i]);
    if (best_rows[i].size() > static_cast<size_t>(k)) best_rows[i].resize(static_cast<size_t>(k));
  }
  return best_rows;
}

}  // namespace vecino::index
