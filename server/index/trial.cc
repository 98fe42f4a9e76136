#include "server/index/trial.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <new>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/ivf_search.h"
#include "server/index/ivf_segment.h"
#include "server/index/kmeans.h"
#include "server/index/segment_kind.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"
#include "server/index/training.h"

namespace vecino::index {
namespace {

// Two scores this close are equal: rounding may swap duplicates.
constexpr float kTie = 1e-6f;

struct Place {
  uint32_t source;
  uint32_t slot;
};

// `count` of the places, by chance, in their order.
std::vector<Place> Choose(std::vector<Place> places, size_t count, std::mt19937_64* random) {
  if (places.size() <= count) return places;
  for (size_t i = 0; i < count; ++i) {
    std::swap(places[i], places[i + (*random)() % (places.size() - i)]);
  }
  places.resize(count);
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.source != b.source ? a.source < b.source : a.slot < b.slot;
  });
  return places;
}

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Whether the filter lets the row of this label pass. Another hash than IsHeldOut.
bool Passes(uint64_t label) {
  uint64_t x = label * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  return (x ^ (x >> 32)) % Trial::kFilter == 0;
}

// Bits of the slots of each segment that the filter lets pass.
absl::StatusOr<std::vector<std::vector<uint64_t>>> PassingSlots(
    const std::vector<SegmentRows>& segments, Checkpoint checkpoint) {
  std::vector<std::vector<uint64_t>> words;
  for (const SegmentRows& one : segments) {
    const int64_t size = one.segment->size();
    std::vector<uint64_t>& bits = words.emplace_back(static_cast<size_t>(size + 63) / 64);
    for (int64_t slot = 0; slot < size; ++slot) {
      if (slot % 65536 == 0) {
        if (absl::Status status = checkpoint(); !status.ok()) return status;
      }
      if (!Passes(one.segment->label(slot))) continue;
      bits[static_cast<size_t>(slot / 64)] |= uint64_t{1} << (slot % 64);
    }
  }
  return words;
}

// As a view is searched. allowed: of each segment, or none. rows: raised by those that were
// compared; below 0: not known.
absl::Status SearchSegments(const std::vector<SegmentRows>& segments,
                            const std::vector<std::vector<uint64_t>>& allowed, const float* query,
                            const SearchParams& params, TopK* top, int64_t* rows) {
  std::vector<IvfPart> parts;
  const auto flush = [&] {
    if (parts.empty()) return absl::OkStatus();
    IvfWork work;
    absl::Status status = SearchIvf(parts, query, params, top, &work);
    // Where lists are not worth while, every row is compared by its 8 bits.
    if (*rows >= 0) *rows += std::max(work.scanned, work.reranked + work.gathered);
    parts.clear();
    return status;
  };
  for (size_t i = 0; i < segments.size(); ++i) {
    const SegmentRows& one = segments[i];
    const uint64_t* const passing = allowed.empty() ? nullptr : allowed[i].data();
    if (const IvfSegment* ivf = AsIvf(*one.segment); ivf != nullptr) {
      if (!parts.empty() && parts.front().segment->generation() != ivf->generation()) {
        if (absl::Status status = flush(); !status.ok()) return status;
      }
      parts.push_back({ivf, one.dead.get(), passing});
      continue;
    }
    absl::Status status = one.segment->Search(query, params, *one.dead, passing, top);
    if (!status.ok()) return status;
    if (one.segment->kind() != SegmentKind::kFlat) {
      *rows = -1;
    } else if (*rows >= 0) {
      *rows += one.segment->size();
    }
  }
  return flush();
}

}  // namespace

absl::StatusOr<Trial> Trial::Make(absl::Span<const FrozenRows* const> rows, Metric metric, size_t d,
                                  absl::Span<const float> live, uint64_t seed,
                                  Checkpoint checkpoint, int threads) {
  try {
    Trial trial;
    trial.metric_ = metric;
    trial.d_ = d;
    std::mt19937_64 random(seed);
    std::vector<Place> held_out, others;
    uint64_t seen = 0;  // of which others were taken
    int64_t count = 0;
    for (const FrozenRows* part : rows) count += part->live();
    const bool none_held_out = count < kLeastHeldOutOf;
    for (const FrozenRows* part : rows) {
      for (const FrozenRows::Source& source : part->sources()) {
        const auto number = static_cast<uint32_t>(trial.before_.size());
        auto dead = std::make_shared<Tombstones>(source.size());
        for (size_t i = 0; i < source.dead.size(); ++i) {
          for (uint64_t bits = source.dead[i]; bits != 0; bits &= bits - 1) {
            dead->Kill(static_cast<int64_t>(i * 64) + std::countr_zero(bits));
          }
        }
        std::shared_ptr<const Segment> segment = source.segment.segment;
        if (const IvfSegment* ivf = AsIvf(*segment); ivf != nullptr && ivf->graph() != nullptr) {
          segment = ivf->WithGraph(nullptr);
        }
        for (int64_t slot = 0; slot < source.size(); ++slot) {
          if (slot % 65536 == 0) {
            if (absl::Status status = checkpoint(); !status.ok()) return status;
          }
          if (!source.IsLive(slot)) continue;
          const Place place = {number, static_cast<uint32_t>(slot)};
          if (!none_held_out && IsHeldOut(source.label(slot))) {
            held_out.push_back(place);
            continue;
          }
          // As many as may be wanted, each with the same chance (Vitter's algorithm R).
          const uint64_t at = random() % ++seen;
          if (others.size() < kQueries) {
            others.push_back(place);
          } else if (at < others.size()) {
            others[at] = place;
          }
        }
        trial.before_.push_back({std::move(segment), std::move(dead)});
      }
    }
    std::vector<Place> chosen = Choose(std::move(held_out), kQueries, &random);
    trial.held_out_ = static_cast<int>(chosen.size());
    const size_t wanted =
        none_held_out ? static_cast<size_t>(std::min<int64_t>(kQueries, count)) : kEnough;
    if (chosen.size() < wanted) {
      const std::vector<Place> more = Choose(std::move(others), wanted - chosen.size(), &random);
      chosen.insert(chosen.end(), more.begin(), more.end());
    }
    trial.k_ = static_cast<int>(std::min<int64_t>(kK, count - 1));
    if (trial.k_ < 1) return trial;
    for (const Place& place : chosen) {
      const Segment& segment = *trial.before_[place.source].segment;
      const float* vector = segment.vector(place.slot);
      trial.queries_.insert(trial.queries_.end(), vector, vector + d);
      trial.self_.push_back(segment.label(place.slot));
    }
    trial.queries_.insert(trial.queries_.end(), live.begin(), live.end());
    trial.self_.resize(trial.queries_.size() / d, 0);

    const size_t n = trial.self_.size();
    const auto k = static_cast<size_t>(trial.k_);
    std::vector<TopK> tops(n, TopK(metric, trial.k_));
    std::vector<int64_t> best(n * k), self(n);
    std::vector<float> scores(best.size());
    for (size_t source = 0; source < trial.before_.size(); ++source) {
      const SegmentRows& part = trial.before_[source];
      std::fill(self.begin(), self.end(), -1);
      for (size_t i = 0; i < chosen.size(); ++i) {
        if (chosen[i].source == source) self[i] = chosen[i].slot;
      }
      absl::Status status =
          BruteForceTopK(part.segment->vector(0), static_cast<size_t>(part.segment->size()), d,
                         metric, trial.queries_.data(), n, self.data(), trial.k_, best.data(),
                         scores.data(), checkpoint, threads, BestCpuLevel(), part.dead.get());
      if (!status.ok()) return status;
      for (size_t i = 0; i < best.size(); ++i) {
        // Labels matter in ties only, where any will do.
        if (best[i] >= 0) tops[i / k].Push(static_cast<uint64_t>(best[i]), scores[i]);
      }
    }
    for (TopK& top : tops) {
      const std::vector<Hit> hits = top.Take();
      trial.best_.push_back(hits.front().score);
      trial.kth_.push_back(hits.back().score);
    }
    std::vector<std::pair<size_t, int64_t>> stored;
    for (const Place& place : chosen) stored.emplace_back(place.source, place.slot);
    if (absl::Status status = trial.FindFiltered(stored, checkpoint, threads); !status.ok()) {
      return status;
    }
    return trial;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory to measure a build against brute force");
  }
}

// stored: source and slot of each query that is a row; those of callers are behind them.
absl::Status Trial::FindFiltered(absl::Span<const std::pair<size_t, int64_t>> stored,
                                 Checkpoint checkpoint, int threads) {
  auto passing = PassingSlots(before_, checkpoint);
  if (!passing.ok()) return passing.status();
  // Dead for brute force: what does not pass as well.
  std::vector<std::unique_ptr<Tombstones>> hidden;
  int64_t live = 0;
  for (size_t source = 0; source < before_.size(); ++source) {
    const int64_t size = before_[source].segment->size();
    const std::vector<uint64_t>& bits = (*passing)[source];
    hidden.push_back(std::make_unique<Tombstones>(size));
    for (int64_t slot = 0; slot < size; ++slot) {
      const bool passes = ((bits[static_cast<size_t>(slot / 64)] >> (slot % 64)) & 1) != 0;
      if (!passes || before_[source].dead->IsDead(slot)) hidden.back()->Kill(slot);
    }
    live += size - hidden.back()->dead();
  }
  if (live <= k_) return absl::OkStatus();  // a query may be one of them
  const size_t n = std::min<size_t>(kFilteredQueries, self_.size());
  std::vector<float> queries;
  queries.reserve(n * d_);
  for (size_t i = 0; i < n; ++i) {
    filtered_.push_back(i * self_.size() / n);
    const float* const query = queries_.data() + filtered_.back() * d_;
    queries.insert(queries.end(), query, query + d_);
  }
  const auto k = static_cast<size_t>(k_);
  std::vector<TopK> tops(n, TopK(metric_, k_));
  std::vector<int64_t> best(n * k), self(n);
  std::vector<float> scores(best.size());
  for (size_t source = 0; source < before_.size(); ++source) {
    for (size_t i = 0; i < n; ++i) {
      const bool is_here = filtered_[i] < stored.size() && stored[filtered_[i]].first == source;
      self[i] = is_here ? stored[filtered_[i]].second : -1;
    }
    const Segment& segment = *before_[source].segment;
    absl::Status status =
        BruteForceTopK(segment.vector(0), static_cast<size_t>(segment.size()), d_, metric_,
                       queries.data(), n, self.data(), k_, best.data(), scores.data(), checkpoint,
                       threads, BestCpuLevel(), hidden[source].get());
    if (!status.ok()) return status;
    for (size_t i = 0; i < best.size(); ++i) {
      if (best[i] >= 0) tops[i / k].Push(static_cast<uint64_t>(best[i]), scores[i]);
    }
  }
  for (TopK& top : tops) filtered_kth_.push_back(top.Take().back().score);
  return absl::OkStatus();
}

bool Trial::Good(float worst, float score) const {
  return metric_ == Metric::kL2 ? score <= worst + kTie : score >= worst - kTie;
}

absl::StatusOr<Trial::Pair> Trial::Compare(const std::vector<SegmentRows>& a,
                                           const std::vector<SegmentRows>& b,
                                           const SearchParams& params, Checkpoint checkpoint,
                                           int threads, Kind kind) const {
  const bool under_filter = kind == Kind::kFiltered;
  const size_t count = under_filter ? filtered_.size() : self_.size();
  if (count == 0) return Pair{};
  const int k = kind == Kind::kBest ? 1 : k_;
  SearchParams asked = params;
  asked.k = k + 1;  // the row itself is found, too, and left out
  struct Side {
    const std::vector<SegmentRows>& segments;
    std::vector<std::vector<uint64_t>> allowed;
    std::atomic<int64_t> found{0}, rows{0};
    std::atomic<bool> counts{true};
    std::vector<double> seconds;
  };
  Side sides[2] = {{a, {}}, {b, {}}};
  for (Side& side : sides) {
    side.seconds.resize(side.segments.empty() ? 0 : count);
    if (!under_filter) continue;
    auto allowed = PassingSlots(side.segments, checkpoint);
    if (!allowed.ok()) return allowed.status();
    side.allowed = *std::move(allowed);
  }
  absl::Status status =
      ParallelFor(threads, count, checkpoint, [&](size_t i, Checkpoint) -> absl::Status {
        const size_t query = under_filter ? filtered_[i] : i;
        const float worst = under_filter          ? filtered_kth_[i]
                            : kind == Kind::kBest ? best_[i]
                                                  : kth_[i];
        for (const size_t turn : {i % 2, 1 - i % 2}) {
          Side& side = sides[turn];
          if (side.segments.empty()) continue;
          TopK top(metric_, asked.k);
          int64_t rows = 0;
          const double start = ThreadSeconds();
          absl::Status searched = SearchSegments(side.segments, side.allowed,
                                                 queries_.data() + query * d_, asked, &top, &rows);
          side.seconds[i] = ThreadSeconds() - start;
          if (!searched.ok()) return searched;
          if (rows < 0) side.counts = false;
          side.rows += std::max<int64_t>(rows, 0);
          int64_t found = 0;
          for (const Hit& hit : top.Take()) {
            found += hit.label != self_[query] && Good(worst, hit.score);
          }
          side.found += std::min<int64_t>(found, k);
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  const auto queries = static_cast<double>(count);
  const auto figures = [&](const Side& side) {
    Figures of;
    if (side.segments.empty()) return of;
    of.recall = static_cast<double>(side.found) / (queries * k);
    of.rows_scanned = side.counts ? static_cast<double>(side.rows) / queries : 0;
    of.seconds = Median(side.seconds);
    return of;
  };
  return Pair{figures(sides[0]), figures(sides[1])};
}

int64_t TrialBytes(int64_t rows, int dimension, int threads) {
  const int64_t keep = 4 * Trial::kK + 128;
  return Trial::kQueries * (5 * int64_t{dimension} + 2 * keep * 16 * std::max(threads, 1)) +
         rows / 16 * int64_t{sizeof(Place)} + rows / 4;  // and bits of filters
}

}  // namespace vecino::index
