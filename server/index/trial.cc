#include "server/index/trial.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <bit>
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

// As a view is searched. rows: raised by those that were compared; below 0: not known.
absl::Status SearchSegments(const std::vector<SegmentRows>& segments, const float* query,
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
  for (const SegmentRows& one : segments) {
    if (const IvfSegment* ivf = AsIvf(*one.segment); ivf != nullptr) {
      if (!parts.empty() && parts.front().segment->generation() != ivf->generation()) {
        if (absl::Status status = flush(); !status.ok()) return status;
      }
      parts.push_back({ivf, one.dead.get(), nullptr});
      continue;
    }
    absl::Status status = one.segment->Search(query, params, *one.dead, nullptr, top);
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
    for (TopK& top : tops) trial.kth_.push_back(top.Take().back().score);
    return trial;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory to measure a build against brute force");
  }
}

bool Trial::Good(size_t query, float score) const {
  return metric_ == Metric::kL2 ? score <= kth_[query] + kTie : score >= kth_[query] - kTie;
}

absl::StatusOr<Trial::Pair> Trial::Compare(const std::vector<SegmentRows>& a,
                                           const std::vector<SegmentRows>& b,
                                           const SearchParams& params, Checkpoint checkpoint,
                                           int threads) const {
  if (self_.empty()) return Pair{};
  SearchParams asked = params;
  asked.k = k_ + 1;  // the row itself is found, too, and left out
  struct Side {
    const std::vector<SegmentRows>& segments;
    std::atomic<int64_t> found{0}, rows{0};
    std::atomic<bool> counts{true};
    std::vector<double> seconds;
  };
  Side sides[2] = {{a}, {b}};
  for (Side& side : sides) side.seconds.resize(side.segments.empty() ? 0 : self_.size());
  absl::Status status =
      ParallelFor(threads, self_.size(), checkpoint, [&](size_t i, Checkpoint) -> absl::Status {
        for (const size_t turn : {i % 2, 1 - i % 2}) {
          Side& side = sides[turn];
          if (side.segments.empty()) continue;
          TopK top(metric_, asked.k);
          int64_t rows = 0;
          const double start = ThreadSeconds();
          absl::Status searched =
              SearchSegments(side.segments, queries_.data() + i * d_, asked, &top, &rows);
          side.seconds[i] = ThreadSeconds() - start;
          if (!searched.ok()) return searched;
          if (rows < 0) side.counts = false;
          side.rows += std::max<int64_t>(rows, 0);
          int64_t found = 0;
          for (const Hit& hit : top.Take()) found += hit.label != self_[i] && Good(i, hit.score);
          side.found += std::min<int64_t>(found, k_);
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  const auto queries = static_cast<double>(self_.size());
  const auto figures = [&](const Side& side) {
    Figures of;
    if (side.segments.empty()) return of;
    of.recall = static_cast<double>(side.found) / (queries * k_);
    of.rows_scanned = side.counts ? static_cast<double>(side.rows) / queries : 0;
    of.seconds = Median(side.seconds);
    return of;
  };
  return Pair{figures(sides[0]), figures(sides[1])};
}

int64_t TrialBytes(int64_t rows, int dimension, int threads) {
  const int64_t keep = 4 * Trial::kK + 128;
  return Trial::kQueries * (5 * int64_t{dimension} + 2 * keep * 16 * std::max(threads, 1)) +
         rows / 16 * int64_t{sizeof(Place)};
}

}  // namespace vecino::index
