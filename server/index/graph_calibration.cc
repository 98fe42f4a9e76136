#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <new>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/index/calibration.h"
#include "server/index/graph.h"
#include "server/index/ivf_segment.h"
#include "server/index/near_copies.h"

namespace vecino::index {
namespace {

constexpr int kBreadths[] = {10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512};
constexpr size_t kFewQueries = 200;
constexpr double kTie = 1e-6;  // scores this close to the k-th are as good

constexpr std::array<int, 3> kKs = {1, 10, 100};

// Of each row of the sample whose truth is known the scores of the best live rows, best first: 100,
// or k if that is more, or all of them.
struct Truth {
  std::vector<uint32_t> queries;
  std::vector<std::vector<float>> scores;
};

std::vector<float> VectorsOf(const GraphRows& rows, const std::vector<uint32_t>& some) {
  const size_t d = rows.rounded.d;
  std::vector<float> vectors;
  vectors.reserve(some.size() * d);
  for (const uint32_t row : some) {
    const float* vector = rows.vectors + static_cast<size_t>(row) * d;
    vectors.insert(vectors.end(), vector, vector + d);
  }
  return vectors;
}

absl::StatusOr<Truth> FindTruth(const GraphRows& rows, const Tombstones& dead,
                                const std::vector<uint32_t>& sample, int k, Checkpoint checkpoint) {
  const size_t d = rows.rounded.d, n = sample.size();
  const auto wanted = static_cast<size_t>(std::max(k, kKs.back()));
  const std::vector<float> queries = VectorsOf(rows, sample);
  std::vector<int64_t> best(n * wanted);
  std::vector<float> scores(n * wanted);
  absl::Status status = BruteForceTopK(
      rows.vectors, static_cast<size_t>(rows.rows), d, rows.rounded.metric, queries.data(), n,
      /*exclude=*/nullptr, static_cast<int>(wanted), best.data(), scores.data(), checkpoint,
      /*threads=*/1, BestCpuLevel(), &dead);
  if (!status.ok()) return status;
  Truth truth;
  for (size_t i = 0; i < n; ++i) {
    size_t found = 0;
    while (found < wanted && best[i * wanted + found] >= 0) ++found;
    if (found == 0) continue;
    truth.queries.push_back(sample[i]);
    const auto from = scores.begin() + static_cast<ptrdiff_t>(i * wanted);
    truth.scores.emplace_back(from, from + static_cast<ptrdiff_t>(found));
  }
  return truth;
}

// For each of `ks` up to ef, ascending, how many of the best rows of query i are among as many hits
// of a search of breadth ef.
absl::StatusOr<std::vector<double>> Recalls(const Graph& graph, const GraphRows& rows,
                                            const Tombstones& dead, const Truth& truth, size_t i,
                                            absl::Span<const int> ks, int ef, int64_t* compared) {
  const Metric metric = rows.rounded.metric;
  SearchParams params;
  params.k = std::min(ks.back(), ef);
  params.ef = ef;
  TopK top(metric, params.k);
  GraphWork work;
  absl::Status status =
      graph.Search(rows, rows.vectors + static_cast<size_t>(truth.queries[i]) * rows.rounded.d,
                   params, dead, /*allowed=*/nullptr, &top, &work);
  if (!status.ok()) return status;
  *compared += work.distances;
  const std::vector<Hit> hits = top.Take();
  std::vector<double> recalls;
  for (const int k : ks) {
    if (k > ef) break;
    const size_t count = std::min(static_cast<size_t>(k), truth.scores[i].size());
    const double worst = truth.scores[i][count - 1];
    const double tie = kTie * std::max(1.0, std::fabs(worst));
    size_t found = 0;
    for (size_t j = 0; j < std::min(hits.size(), static_cast<size_t>(k)); ++j) {
      found += metric == Metric::kL2 ? hits[j].score <= worst + tie : hits[j].score >= worst - tie;
    }
    recalls.push_back(static_cast<double>(std::min(found, count)) / static_cast<double>(count));
  }
  return recalls;
}

}  // namespace

absl::StatusOr<Calibration> CalibrateGraph(const Graph& graph, const GraphRows& rows,
                                           const Tombstones& dead,
                                           const std::vector<uint32_t>& sample, int k,
                                           Checkpoint checkpoint) {
  constexpr size_t kSearchesPerCheckpoint = 4;
  if (k < 1) return absl::InvalidArgumentError(absl::StrCat("k is ", k, ", not 1 or more"));
  for (const uint32_t row : sample) {
    if (!dead.IsDead(row)) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", row, " of the sample lives: it would find itself"));
    }
  }
  Calibration calibration;
  calibration.k = k;
  if (sample.empty()) return calibration;
  try {
    const auto truth = FindTruth(rows, dead, sample, k, checkpoint);
    if (!truth.ok()) return truth.status();
    const size_t queries = truth->queries.size();
    if (queries == 0) return calibration;
    calibration.queries = static_cast<int>(queries);
    std::vector<int> ks(kKs.begin(), kKs.end());
    if (std::find(ks.begin(), ks.end(), k) == ks.end()) {
      ks.push_back(k);
      std::sort(ks.begin(), ks.end());
    }
    const auto live = static_cast<double>(std::max<int64_t>(rows.rows - dead.dead(), 1));
    float least = 0;
    std::vector<std::vector<MeasuredBreadth>> measured(ks.size());
    for (const int ef : kBreadths) {
      std::vector<double> sums(ks.size()), squares(ks.size());
      size_t known = 0;
      int64_t compared = 0;
      for (size_t i = 0; i < queries; ++i) {
        if (i % kSearchesPerCheckpoint == 0) {
          if (absl::Status status = checkpoint(); !status.ok()) return status;
        }
        const auto recalls = Recalls(graph, rows, dead, *truth, i, ks, ef, &compared);
        if (!recalls.ok()) return recalls.status();
        known = recalls->size();
        for (size_t j = 0; j < known; ++j) {
          sums[j] += (*recalls)[j];
          squares[j] += (*recalls)[j] * (*recalls)[j];
        }
      }
      const auto n = static_cast<double>(queries);
      for (size_t j = 0; j < known; ++j) {
        const double mean = sums[j] / n;
        // Few queries of which all find all tell little: the error of one that would find nothing.
        // Of many it is in the margin already (Calibration::Sure).
        double error = std::sqrt(std::max(0.0, squares[j] / n - mean * mean) / n);
        if (queries < kFewQueries) error = std::max(error, 1 / n);
        measured[j].push_back(
            {ef, mean, error, std::min(1.0, static_cast<double>(compared) / n / live)});
        if (ks[j] != k) continue;
        least = std::max(least, static_cast<float>(mean));
        calibration.points.push_back({.breadth = ef, .recall = least});
      }
    }
    for (size_t j = 0; j < ks.size(); ++j) {
      calibration.table.Add(RecallTable::How::kCodes, ks[j], 1, CurveThrough(measured[j]));
    }
    return calibration;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to calibrate a graph with ", sample.size(), " queries"));
  }
}

namespace {

// A graph lacks one in so many rows at most while it is calibrated, and those that are equal to
// them.
constexpr int64_t kMissingOneIn = 16;

// A sample with the near copies of its rows, ascending. What the graph cannot lack with its copies
// is taken out of the sample.
absl::StatusOr<std::vector<uint32_t>> WithNearCopies(const GraphRows& rows, Checkpoint checkpoint,
                                                     std::vector<uint32_t>* sample) {
  const size_t d = rows.rounded.d, n = sample->size();
  const std::vector<float> queries = VectorsOf(rows, *sample);
  const std::vector<int64_t> self(sample->begin(), sample->end());
  constexpr size_t kKnown = NearCopyRule::kKnown;
  std::vector<int64_t> best(n * kKnown);
  std::vector<float> scores(best.size());
  const Metric metric = rows.rounded.metric;
  absl::Status status = BruteForceTopK(rows.vectors, static_cast<size_t>(rows.rows), d, metric,
                                       queries.data(), n, self.data(), static_cast<int>(kKnown),
                                       best.data(), scores.data(), checkpoint, /*threads=*/1);
  if (!status.ok()) return status;
  std::vector<Neighbours> neighbours;
  for (size_t i = 0; i < n; ++i) {
    Neighbours& of_row = neighbours.emplace_back(Neighbours{queries.data() + i * d, {}});
    for (size_t j = i * kKnown; j < (i + 1) * kKnown && best[j] >= 0; ++j) {
      of_row.best.push_back(rows.vectors + static_cast<size_t>(best[j]) * d);
    }
  }
  const auto is_copy = FindNearCopies(metric, neighbours, d);
  const auto most = static_cast<size_t>(rows.rows / kMissingOneIn);
  std::vector<uint32_t> all, asked;
  for (size_t i = 0; i < n; ++i) {
    // Of many equal rows none is left out of the graph (Graph::Rehearsal::kMostTwins).
    const auto equal = std::count_if(
        neighbours[i].best.begin(), neighbours[i].best.end(),
        [&](const float* other) { return std::equal(other, other + d, neighbours[i].row); });
    if (static_cast<size_t>(equal) > Graph::Rehearsal::kMostTwins) continue;
    std::vector<uint32_t> with = {(*sample)[i]};
    for (size_t j = 0; j < is_copy[i].size(); ++j) {
      if (is_copy[i][j]) with.push_back(static_cast<uint32_t>(best[i * kKnown + j]));
    }
    if (!all.empty() && all.size() + with.size() > most) continue;
    asked.push_back((*sample)[i]);
    all.insert(all.end(), with.begin(), with.end());
  }
  *sample = std::move(asked);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Graph>> BuildGraph(const IvfSegment& segment,
                                                  const Graph::Options& options, int queries,
                                                  uint64_t seed, Checkpoint checkpoint) {
  try {
    std::mt19937_64 random(seed);
    std::vector<uint32_t> sample;
    for (int64_t i = 0; i < std::min<int64_t>(queries, segment.size() / kMissingOneIn); ++i) {
      sample.push_back(static_cast<uint32_t>(random() % static_cast<uint64_t>(segment.size())));
    }
    std::sort(sample.begin(), sample.end());
    sample.erase(std::unique(sample.begin(), sample.end()), sample.end());
    std::shuffle(sample.begin(), sample.end(), random);
    const GraphRows rows = segment.graph_rows();
    std::vector<uint32_t> last;
    if (!sample.empty()) {
      auto with_copies = WithNearCopies(rows, checkpoint, &sample);
      if (!with_copies.ok()) return with_copies.status();
      last = *std::move(with_copies);
    }
    const auto measure = [&](const Graph* graph, const Tombstones& missing) {
      std::vector<uint32_t> queries_of_it = sample;
      std::erase_if(queries_of_it, [&](uint32_t row) { return !missing.IsDead(row); });
      return CalibrateGraph(*graph, rows, missing, queries_of_it, kCalibrationK, checkpoint);
    };
    const Graph::Rehearsal rehearsal = {.rows = last, .measure = measure};
    return Graph::Build(rows, options, checkpoint, &rehearsal);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to draw queries for a graph of ", segment.size(), " rows"));
  }
}

}  // namespace vecino::index
