#include "server/index/calibration.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <deque>
#include <new>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/ivf_search.h"
#include "server/index/ivf_segment.h"
#include "server/index/kmeans.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"

namespace vecino::index {
namespace {

// Two scores this close are equal: rounding may swap duplicates.
constexpr float kTie = 1e-6f;

// A breadth that adds less does so because too few rows are reranked.
constexpr float kLittle = 0.002f;
constexpr int kBreadths[] = {2, 4, 8, 16, 32, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096, 8192};
// Neighbours in lists of higher rank are lost for any probe rule.
constexpr int kMostLists = 8192;
// Where so many lists are scanned, half of the queries do: near 1 recall varies less, and such
// searches take long.
constexpr int kWide = 128;

// The rows of some segments, numbered from 0: those of the first by slot, then those of the next.
class AllRows {
 public:
  struct Place {
    size_t part;
    int64_t slot;
  };

  // parts: at least one; the caller keeps the segments.
  explicit AllRows(absl::Span<const CalibrationPart> parts) {
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

  int64_t size() const { return size_; }
  int64_t live() const { return live_; }
  bool IsDead(int64_t row) const {
    const Place place = Find(row);
    return dead_[place.part].IsDead(place.slot);
  }
  const std::vector<const IvfSegment*>& segments() const { return segments_; }
  const IvfSegment& first() const { return *segments_.front(); }
  int64_t begin(size_t part) const { return begin_[part]; }  // its first row
  Place Find(int64_t row) const {
    const auto after = std::upper_bound(begin_.begin(), begin_.end(), row);
    const auto part = static_cast<size_t>(after - begin_.begin()) - 1;
    return {part, row - begin_[part]};
  }
  const float* vector(int64_t row) const {
    const Place place = Find(row);
    return segments_[place.part]->vector(place.slot);
  }
  uint64_t label(int64_t row) const {
    const Place place = Find(row);
    return segments_[place.part]->label(place.slot);
  }
  const Tombstones& dead(size_t part) const { return dead_[part]; }
  // As a search wants them. allowed: bits of slots, for each segment; empty: all rows.
  std::vector<IvfPart> Parts(const std::vector<std::vector<uint64_t>>& allowed) const {
    std::vector<IvfPart> parts;
    for (size_t part = 0; part < segments_.size(); ++part) {
      parts.push_back(
          {segments_[part], &dead_[part], allowed.empty() ? nullptr : allowed[part].data()});
    }
    return parts;
  }

 private:
  std::vector<const IvfSegment*> segments_;
  std::vector<int64_t> begin_;
  std::deque<Tombstones> dead_;  // as they were at the beginning
  int64_t size_ = 0, live_ = 0;
};

// Some rows as queries, and what they should find.
struct Truth {
  std::vector<int64_t> rows;
  std::vector<int64_t> best;   // rows.size() × k rows; of a filter's truth none
  std::vector<float> queries;  // rows.size() × d
  std::vector<float> kth;      // the k-th best true score of each
  int k = 0;
  std::vector<std::vector<uint64_t>> allowed;  // of AllRows::Parts
};

absl::StatusOr<Truth> MakeTruth(const AllRows& all, int queries, uint64_t seed,
                                Checkpoint checkpoint, int threads) {
  const int64_t n = all.size(), live = all.live();
  const Metric metric = all.first().metric();
  const auto d = static_cast<size_t>(all.first().dimension());
  Truth truth;
  truth.k = static_cast<int>(std::min<int64_t>(kCalibrationK, live - 1));
  if (truth.k < 1 || queries < 1) return truth;
  std::mt19937_64 random(seed);
  std::vector<int64_t> rows(static_cast<size_t>(std::min<int64_t>(queries, n)));
  for (int64_t& row : rows) row = static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  std::erase_if(rows, [&](int64_t row) { return all.IsDead(row); });
  truth.rows = std::move(rows);
  for (const int64_t row : truth.rows) {
    const float* vector = all.vector(row);
    truth.queries.insert(truth.queries.end(), vector, vector + d);
  }
  const size_t count = truth.rows.size();
  const auto k = static_cast<size_t>(truth.k);
  std::vector<TopK> tops(count, TopK(metric, truth.k));
  std::vector<int64_t> best(count * k), self(count);
  std::vector<float> scores(best.size());
  for (size_t part = 0; part < all.segments().size(); ++part) {
    const IvfSegment& segment = *all.segments()[part];
    for (size_t i = 0; i < count; ++i) {
      const AllRows::Place place = all.Find(truth.rows[i]);
      self[i] = place.part == part ? place.slot : -1;
    }
    absl::Status status =
        BruteForceTopK(segment.vector(0), static_cast<size_t>(segment.size()), d, metric,
                       truth.queries.data(), count, self.data(), truth.k, best.data(),
                       scores.data(), checkpoint, threads, BestCpuLevel(), &all.dead(part));
    if (!status.ok()) return status;
    for (size_t i = 0; i < best.size(); ++i) {
      if (best[i] < 0) continue;
      tops[i / k].Push(static_cast<uint64_t>(all.begin(part) + best[i]), scores[i]);
    }
  }
  for (TopK& top : tops) {
    const std::vector<Hit> hits = top.Take();
    for (const Hit& hit : hits) truth.best.push_back(static_cast<int64_t>(hit.label));
    truth.kth.push_back(hits.back().score);
  }
  return truth;
}

// Mean share of the true best k that a search with these parameters finds, of every `step`-th
// query.
absl::StatusOr<float> MeasureRecall(const AllRows& all, const Truth& truth, SearchParams params,
                                    const Calibration& calibration, size_t step,
                                    Checkpoint checkpoint, int threads) {
  const size_t asked = (truth.rows.size() + step - 1) / step;
  const std::vector<IvfPart> parts = all.Parts(truth.allowed);
  const Metric metric = all.first().metric();
  const auto d = static_cast<size_t>(all.first().dimension());
  params.k = truth.k + 1;  // the row itself is found too, and left out
  std::atomic<int64_t> found = 0;
  absl::Status searched =
      ParallelFor(threads, asked, checkpoint, [&](size_t number, Checkpoint) -> absl::Status {
        const size_t i = number * step;
        TopK top(metric, params.k);
        absl::Status status = SearchIvf(parts, truth.queries.data() + i * d, params, &top,
                                        /*work=*/nullptr, &calibration);
        if (!status.ok()) return status;
        const uint64_t self = all.label(truth.rows[i]);
        int64_t hits = 0;
        for (const Hit& hit : top.Take()) {
          if (hit.label == self) continue;
          hits += metric == Metric::kL2 ? hit.score <= truth.kth[i] + kTie
                                        : hit.score >= truth.kth[i] - kTie;
        }
        found += std::min<int64_t>(hits, truth.k);
        return absl::OkStatus();
      });
  if (!searched.ok()) return searched;
  return static_cast<float>(found.load()) /
         static_cast<float>(asked * static_cast<size_t>(truth.k));
}

// Rows that the widening is measured among: enough for lists to be worth while under a filter, few
// enough to compare them all in no time.
constexpr int64_t kMostPassing = 32'768, kLeastPassing = 8'192;
constexpr double kPassing = 0.1;

// The same queries among random rows, a share of `share`.
absl::StatusOr<Truth> AmongSome(const AllRows& all, const Truth& truth, double share, uint64_t seed,
                                Checkpoint checkpoint, int threads) {
  const auto d = static_cast<size_t>(all.first().dimension());
  Truth some = {.rows = truth.rows,
                .best = {},
                .queries = truth.queries,
                .kth = {},
                .k = truth.k,
                .allowed = {}};
  std::mt19937_64 random(seed);
  const auto below = static_cast<uint64_t>(share * 0x1p64);
  std::vector<float> passing;
  std::vector<int64_t> self(truth.rows.size(), -1);
  int64_t row = 0, passed = 0;
  size_t next = 0;
  for (const IvfSegment* segment : all.segments()) {
    const auto n = static_cast<size_t>(segment->size());
    std::vector<uint64_t>& allowed = some.allowed.emplace_back((n + 63) / 64);
    for (size_t slot = 0; slot < n; ++slot, ++row) {
      const bool is_query = next < truth.rows.size() && truth.rows[next] == row;
      if (random() < below && !all.IsDead(row)) {
        allowed[slot / 64] |= uint64_t{1} << (slot % 64);
        const float* vector = segment->vector(static_cast<int64_t>(slot));
        passing.insert(passing.end(), vector, vector + d);
        if (is_query) self[next] = passed;
        ++passed;
      }
      next += is_query;
    }
  }
  const size_t count = truth.rows.size();
  std::vector<int64_t> best(count * static_cast<size_t>(truth.k));
  std::vector<float> scores(best.size());
  absl::Status status = BruteForceTopK(
      passing.data(), static_cast<size_t>(passed), d, all.first().metric(), truth.queries.data(),
      count, self.data(), truth.k, best.data(), scores.data(), checkpoint, threads);
  if (!status.ok()) return status;
  for (size_t i = 0; i < count; ++i) some.kth.push_back(scores[(i + 1) * truth.k - 1]);
  return some;
}

// The exponent of the lists' number by which a search under a filter finds as much as one without:
// by one filter, at the breadth for a recall of .95. What this data needs is measured, because it
// differs: .26 to .49 on 304,600 texts, .57 on a million rows made from them, with near twins.
absl::StatusOr<double> MeasureWidening(const AllRows& all, const Truth& truth,
                                       const Calibration& calibration, uint64_t seed,
                                       Checkpoint checkpoint, int threads) {
  const auto n = static_cast<double>(all.live());
  const double share = std::min(kPassing, static_cast<double>(kMostPassing) / n);
  if (n * share < kLeastPassing) return Calibration::kWidening;
  auto some = AmongSome(all, truth, share, seed, checkpoint, threads);
  if (!some.ok()) return some.status();
  constexpr double kTarget = 0.95;
  const double wanted = kTarget + Calibration::kMargin * (1 - kTarget);
  const int breadth = calibration.BreadthFor(kTarget, 0);
  const double current = calibration.widening;  // what the search will add itself
  double exponent = 0, last = 0;
  for (const double step : {0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0}) {
    SearchParams params;
    params.breadth = std::max(1, static_cast<int>(breadth * std::pow(share, current - step)));
    // By codes, as most filters' searches, though fewer rows may pass than one in kSparse.
    params.rerank = 10 * (some->k + 1);
    auto recall = MeasureRecall(all, *some, params, calibration, 1, checkpoint, threads);
    if (!recall.ok()) return recall.status();
    if (*recall >= wanted) {
      return *recall > last ? exponent + (step - exponent) * (wanted - last) / (*recall - last)
                            : step;
    }
    exponent = step;
    last = *recall;
  }
  return exponent;
}

// Where the true neighbours' lists stand among all, by each query's ranking.
absl::StatusOr<ProbeRule> MeasureRule(const AllRows& all, const Truth& truth, Checkpoint checkpoint,
                                      int threads) {
  constexpr double kTarget = 0.95;
  const Generation& generation = *all.first().generation();
  const auto d = static_cast<size_t>(generation.d());
  const auto nlist = static_cast<size_t>(generation.nlist());
  const auto k = static_cast<size_t>(truth.k);
  std::vector<uint32_t> list_of(static_cast<size_t>(all.size()));
  for (size_t part = 0; part < all.segments().size(); ++part) {
    const IvfSegment& segment = *all.segments()[part];
    const auto of_part = list_of.begin() + all.begin(part);
    for (int list = 0; list < generation.nlist(); ++list) {
      std::fill(of_part + segment.list_begin(list), of_part + segment.list_begin(list + 1),
                static_cast<uint32_t>(list));
    }
  }
  std::vector<ProbeRule::Observation> observations(truth.rows.size());
  absl::Status status = ParallelFor(
      threads, observations.size(), checkpoint, [&](size_t i, Checkpoint) -> absl::Status {
        std::vector<float> gaps;
        generation.ListGaps(Int8Query(truth.queries.data() + i * d, d), &gaps);
        std::vector<uint32_t> order(nlist), rank(nlist);
        std::iota(order.begin(), order.end(), 0u);
        std::stable_sort(order.begin(), order.end(),
                         [&](uint32_t a, uint32_t b) { return gaps[a] < gaps[b]; });
        for (uint32_t r = 0; r < nlist; ++r) rank[order[r]] = r;
        ProbeRule::Observation& out = observations[i];
        for (size_t r = 0; r < std::min<size_t>(nlist, kMostLists); ++r) {
          out.gaps.push_back(gaps[order[r]]);
        }
        for (size_t j = 0; j < k; ++j) {
          out.ranks.push_back(rank[list_of[static_cast<size_t>(truth.best[i * k + j])]]);
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return ProbeRule::Fit(observations, kTarget + Calibration::kMargin * (1 - kTarget));
}

}  // namespace

int Calibration::BreadthFor(double target, int fallback) const {
  if (points.empty()) return fallback;
  target += kMargin * (1 - target);
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].recall < target) continue;
    if (i == 0 || points[i].recall <= points[i - 1].recall) return points[i].breadth;
    const double share =
        (target - points[i - 1].recall) / (points[i].recall - points[i - 1].recall);
    const double low = std::log(points[i - 1].breadth), high = std::log(points[i].breadth);
    return static_cast<int>(std::ceil(std::exp(low + share * (high - low)) - 1e-6));
  }
  return points.back().breadth;
}

int64_t CalibrationBytes(int dimension, int nlist) {
  const int64_t passing = kMostPassing * dimension * int64_t{sizeof(float)};
  // Gaps of each query's lists.
  const int64_t observed =
      int64_t{kCalibrationQueries} * std::min(nlist, kMostLists) * int64_t{sizeof(float)};
  return passing + observed;
}

// Recall at rising breadths: with as many rows reranked as a target below kHighRecall has, up to
// the breadth that reaches kHighRecall or adds little, from there on with as many as targets above.
absl::StatusOr<Calibration> CalibrateIvf(absl::Span<const CalibrationPart> parts, int queries,
                                         uint64_t seed, Checkpoint checkpoint, int threads) {
  const int widest = parts.front().segment->generation()->nlist();
  try {
    const AllRows all(parts);
    auto truth = MakeTruth(all, queries, seed, checkpoint, threads);
    if (!truth.ok()) return truth.status();
    Calibration calibration;
    calibration.rows = all.live();
    if (truth->rows.empty()) return calibration;
    calibration.k = truth->k;
    calibration.queries = static_cast<int>(truth->rows.size());
    auto rule = MeasureRule(all, *truth, checkpoint, threads);
    if (!rule.ok()) return rule.status();
    calibration.rule = *std::move(rule);
    float best = 0;
    size_t asked = 1;  // every so many-th query
    SearchParams params;
    for (const int listed : kBreadths) {
      const int breadth = std::min(listed, widest);
      const size_t step = breadth > kWide ? 2 : 1;
      params.breadth = breadth;
      auto recall = MeasureRecall(all, *truth, params, calibration, step, checkpoint, threads);
      if (!recall.ok()) return recall.status();
      float before = best;
      if (step != asked && !calibration.points.empty()) {
        // Fewer queries from here on: what a breadth adds is told by the same ones.
        SearchParams narrower = params;
        narrower.breadth = calibration.points.back().breadth;
        auto again = MeasureRecall(all, *truth, narrower, calibration, step, checkpoint, threads);
        if (!again.ok()) return again.status();
        before = *again;
      }
      asked = step;
      const bool enough = *recall >= kHighRecall || (best > 0 && *recall - before < kLittle);
      if (params.recall_target < kHighRecall && enough) {
        params.recall_target = kHighRecall;
        recall = MeasureRecall(all, *truth, params, calibration, step, checkpoint, threads);
        if (!recall.ok()) return recall.status();
      }
      best = std::max(best, *recall);
      calibration.points.push_back({breadth, best});
      if (breadth == widest || best >= 0.999f) break;
    }
    auto widening = MeasureWidening(all, *truth, calibration, seed + 1, checkpoint, threads);
    if (!widening.ok()) return widening.status();
    calibration.widening = *widening;
    return calibration;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to calibrate ", parts.size(), " segments"));
  }
}

absl::StatusOr<Calibration> CalibrateGraph(const IvfSegment& segment, int queries, uint64_t seed,
                                           Checkpoint checkpoint) {
  std::mt19937_64 random(seed);
  std::vector<uint32_t> sample;
  for (int64_t i = 0; i < std::min<int64_t>(queries, segment.size()); ++i) {
    sample.push_back(static_cast<uint32_t>(random() % static_cast<uint64_t>(segment.size())));
  }
  std::sort(sample.begin(), sample.end());
  sample.erase(std::unique(sample.begin(), sample.end()), sample.end());
  const GraphRows rows = {.rounded = segment.rounded(),
                          .vectors = segment.vector(0),
                          .labels = segment.labels(),
                          .rows = segment.size()};
  return CalibrateGraph(*segment.graph(), rows, Tombstones(segment.size()), sample, kCalibrationK,
                        checkpoint);
}

}  // namespace vecino::index
