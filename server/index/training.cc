#include "server/index/training.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/ivf_search.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"

namespace vecino::index {
namespace {

// Two scores this close are equal: rounding may swap duplicates.
constexpr float kTie = 1e-6f;

// A breadth that adds less does so because too few rows are reranked.
constexpr float kLittle = 0.002f;
constexpr int kBreadths[] = {2, 4, 8, 16, 32, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096, 8192};
// Where so many lists are scanned, half of the queries do: near 1 recall varies less, and such
// searches take long.
constexpr int kWide = 128;

// Some rows of a segment as queries, and what they should find.
struct Truth {
  std::vector<int64_t> rows;   // slots
  std::vector<int64_t> best;   // rows.size() × k slots
  std::vector<float> queries;  // rows.size() × d
  std::vector<float> kth;      // the k-th best true score of each
  int k = 0;
  std::vector<uint64_t> allowed;  // bits of the slots among which they should; empty: all
};

absl::StatusOr<Truth> MakeTruth(const IvfSegment& segment, int queries, uint64_t seed,
                                Checkpoint checkpoint, int threads) {
  const int64_t n = segment.size();
  const auto d = static_cast<size_t>(segment.dimension());
  Truth truth;
  truth.k = static_cast<int>(std::min<int64_t>(kCalibrationK, n - 1));
  if (truth.k < 1 || queries < 1) return truth;
  std::mt19937_64 random(seed);
  std::vector<int64_t> rows(static_cast<size_t>(std::min<int64_t>(queries, n)));
  for (int64_t& row : rows) row = static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  truth.rows = std::move(rows);
  for (const int64_t row : truth.rows) {
    const float* vector = segment.vector(row);
    truth.queries.insert(truth.queries.end(), vector, vector + d);
  }
  const size_t count = truth.rows.size();
  std::vector<int64_t> best(count * static_cast<size_t>(truth.k));
  std::vector<float> scores(best.size());
  absl::Status status = BruteForceTopK(
      segment.vector(0), static_cast<size_t>(n), d, segment.metric(), truth.queries.data(), count,
      truth.rows.data(), truth.k, best.data(), scores.data(), checkpoint, threads);
  if (!status.ok()) return status;
  for (size_t i = 0; i < count; ++i) truth.kth.push_back(scores[(i + 1) * truth.k - 1]);
  truth.best = std::move(best);
  return truth;
}

// Mean share of the true best k that a search with these parameters finds, of every `step`-th
// query.
absl::StatusOr<float> MeasureRecall(const IvfSegment& segment, const Truth& truth,
                                    SearchParams params, const Calibration& calibration,
                                    size_t step, Checkpoint checkpoint, int threads) {
  const size_t asked = (truth.rows.size() + step - 1) / step;
  const Tombstones none(segment.size());
  const auto d = static_cast<size_t>(segment.dimension());
  params.k = truth.k + 1;  // the row itself is found too, and left out
  std::atomic<int64_t> found = 0;
  absl::Status searched =
      ParallelFor(threads, asked, checkpoint, [&](size_t number, Checkpoint) -> absl::Status {
        const size_t i = number * step;
        TopK top(segment.metric(), params.k);
        absl::Status status =
            SearchIvf({{&segment, &none, truth.allowed.empty() ? nullptr : truth.allowed.data()}},
                      truth.queries.data() + i * d, params, &top, /*work=*/nullptr, &calibration);
        if (!status.ok()) return status;
        const uint64_t self = segment.label(truth.rows[i]);
        int64_t hits = 0;
        for (const Hit& hit : top.Take()) {
          if (hit.label == self) continue;
          hits += segment.metric() == Metric::kL2 ? hit.score <= truth.kth[i] + kTie
                                                  : hit.score >= truth.kth[i] - kTie;
        }
        found += std::min<int64_t>(hits, truth.k);
        return absl::OkStatus();
      });
  if (!searched.ok()) return searched;
  return static_cast<float>(found.load()) /
         static_cast<float>(asked * static_cast<size_t>(truth.k));
}

}  // namespace

// Rows that the widening is measured among: enough for lists to be worth while under a filter, few
// enough to compare them all in no time.
constexpr int64_t kMostPassing = 32'768, kLeastPassing = 8'192;
constexpr double kPassing = 0.1;

// The same queries among random rows, a share of `share`.
absl::StatusOr<Truth> AmongSome(const IvfSegment& segment, const Truth& truth, double share,
                                uint64_t seed, Checkpoint checkpoint, int threads) {
  const auto n = static_cast<size_t>(segment.size());
  const auto d = static_cast<size_t>(segment.dimension());
  Truth some = {.rows = truth.rows,
                .best = {},
                .queries = truth.queries,
                .kth = {},
                .k = truth.k,
                .allowed = std::vector<uint64_t>((n + 63) / 64)};
  std::mt19937_64 random(seed);
  const auto below = static_cast<uint64_t>(share * 0x1p64);
  std::vector<float> rows;
  std::vector<int64_t> self(truth.rows.size(), -1);
  int64_t passing = 0;
  for (size_t slot = 0, next = 0; slot < n; ++slot) {
    const bool is_query = next < truth.rows.size() && static_cast<size_t>(truth.rows[next]) == slot;
    if (random() < below) {
      some.allowed[slot / 64] |= uint64_t{1} << (slot % 64);
      const float* row = segment.vector(static_cast<int64_t>(slot));
      rows.insert(rows.end(), row, row + d);
      if (is_query) self[next] = passing;
      ++passing;
    }
    next += is_query;
  }
  const size_t count = truth.rows.size();
  std::vector<int64_t> best(count * static_cast<size_t>(truth.k));
  std::vector<float> scores(best.size());
  absl::Status status = BruteForceTopK(rows.data(), static_cast<size_t>(passing), d,
                                       segment.metric(), truth.queries.data(), count, self.data(),
                                       truth.k, best.data(), scores.data(), checkpoint, threads);
  if (!status.ok()) return status;
  for (size_t i = 0; i < count; ++i) some.kth.push_back(scores[(i + 1) * truth.k - 1]);
  return some;
}

// The exponent of the lists' number by which a search under a filter finds as much as one without:
// by one filter, at the breadth for a recall of .95. What this data needs is measured, because it
// differs: .26 to .49 on 304,600 texts, .57 on a million rows made from them, with near twins.
absl::StatusOr<double> MeasureWidening(const IvfSegment& segment, const Truth& truth,
                                       const Calibration& calibration, uint64_t seed,
                                       Checkpoint checkpoint, int threads) {
  const auto n = static_cast<double>(segment.size());
  const double share = std::min(kPassing, static_cast<double>(kMostPassing) / n);
  if (n * share < kLeastPassing) return Calibration::kWidening;
  auto some = AmongSome(segment, truth, share, seed, checkpoint, threads);
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
    auto recall = MeasureRecall(segment, *some, params, calibration, 1, checkpoint, threads);
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
absl::StatusOr<ProbeRule> MeasureRule(const IvfSegment& segment, const Truth& truth,
                                      Checkpoint checkpoint, int threads) {
  // Neighbours in lists of higher rank are lost for any rule.
  constexpr size_t kMostLists = 8192;
  constexpr double kTarget = 0.95;
  const Generation& generation = *segment.generation();
  const auto d = static_cast<size_t>(segment.dimension());
  const auto nlist = static_cast<size_t>(generation.nlist());
  const auto k = static_cast<size_t>(truth.k);
  std::vector<uint32_t> list_of(static_cast<size_t>(segment.size()));
  for (int list = 0; list < generation.nlist(); ++list) {
    std::fill(list_of.begin() + segment.list_begin(list),
              list_of.begin() + segment.list_begin(list + 1), static_cast<uint32_t>(list));
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
        for (size_t r = 0; r < std::min(nlist, kMostLists); ++r) {
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

// Recall at rising breadths: with as many rows reranked as a target below kHighRecall has, up to
// the breadth that reaches kHighRecall or adds little, from there on with as many as targets above.
absl::StatusOr<Calibration> CalibrateIvf(const IvfSegment& segment, int queries, uint64_t seed,
                                         Checkpoint checkpoint, int threads) {
  const int widest = segment.generation()->nlist();
  try {
    auto truth = MakeTruth(segment, queries, seed, checkpoint, threads);
    if (!truth.ok()) return truth.status();
    Calibration calibration;
    if (truth->rows.empty()) return calibration;
    calibration.k = truth->k;
    calibration.queries = static_cast<int>(truth->rows.size());
    auto rule = MeasureRule(segment, *truth, checkpoint, threads);
    if (!rule.ok()) return rule.status();
    calibration.rule = *std::move(rule);
    float best = 0;
    size_t asked = 1;  // every so many-th query
    SearchParams params;
    for (const int listed : kBreadths) {
      const int breadth = std::min(listed, widest);
      const size_t step = breadth > kWide ? 2 : 1;
      params.breadth = breadth;
      auto recall = MeasureRecall(segment, *truth, params, calibration, step, checkpoint, threads);
      if (!recall.ok()) return recall.status();
      float before = best;
      if (step != asked && !calibration.points.empty()) {
        // Fewer queries from here on: what a breadth adds is told by the same ones.
        SearchParams narrower = params;
        narrower.breadth = calibration.points.back().breadth;
        auto again =
            MeasureRecall(segment, *truth, narrower, calibration, step, checkpoint, threads);
        if (!again.ok()) return again.status();
        before = *again;
      }
      asked = step;
      const bool enough = *recall >= kHighRecall || (best > 0 && *recall - before < kLittle);
      if (params.recall_target < kHighRecall && enough) {
        params.recall_target = kHighRecall;
        recall = MeasureRecall(segment, *truth, params, calibration, step, checkpoint, threads);
        if (!recall.ok()) return recall.status();
      }
      best = std::max(best, *recall);
      calibration.points.push_back({breadth, best});
      if (breadth == widest || best >= 0.999f) break;
    }
    auto widening = MeasureWidening(segment, *truth, calibration, seed + 1, checkpoint, threads);
    if (!widening.ok()) return widening.status();
    calibration.widening = *widening;
    return calibration;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to calibrate a segment of ", segment.size(), " rows"));
  }
}

absl::StatusOr<std::shared_ptr<Generation>> TrainGeneration(const FrozenRows& rows, Metric metric,
                                                            bool unit, size_t d,
                                                            Generation::TrainOptions options,
                                                            Checkpoint checkpoint) {
  if (options.expected_rows == 0) options.expected_rows = rows.live();
  const int nlist =
      options.nlist > 0 ? options.nlist : Generation::DefaultLists(options.expected_rows);
  const int64_t wanted = std::min(rows.live(), Generation::SampleRows(nlist));
  std::vector<float> sample;
  try {
    sample.reserve(static_cast<size_t>(wanted) * d);
    // Knuth's selection sampling: each row is taken with the probability that makes exactly
    // `wanted` of what is left likely.
    std::mt19937_64 random(options.seed);
    int64_t left = rows.live();
    int64_t needed = wanted;
    absl::Status status = rows.ForEachLive([&](uint64_t, const float* vector) {
      if (random() % static_cast<uint64_t>(left) < static_cast<uint64_t>(needed)) {
        sample.insert(sample.end(), vector, vector + d);
        --needed;
      }
      return --left % 4096 == 0 ? checkpoint() : absl::OkStatus();
    });
    if (!status.ok()) return status;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a sample of ", wanted,
                                                     " rows of ", d, " dimensions to train on"));
  }
  return Generation::Train(metric, unit, d, sample.data(), sample.size() / d, options, checkpoint);
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
