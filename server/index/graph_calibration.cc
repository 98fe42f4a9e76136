#include <algorithm>
#include <cmath>
#include <new>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/graph.h"

namespace vecino::index {
namespace {

constexpr int kBreadths[] = {10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512};
constexpr double kTie = 1e-6;  // scores this close to the k-th are as good

// The score that a row needs to count as found, for each row of the sample whose truth is known.
struct Truth {
  std::vector<uint32_t> queries;
  std::vector<float> worst;  // of the true best, and
  std::vector<int> count;    // how many they are: k, or all other live rows
};

absl::StatusOr<Truth> FindTruth(const GraphRows& rows, const Tombstones& dead,
                                const std::vector<uint32_t>& sample, int k, Checkpoint checkpoint) {
  const size_t d = rows.rounded.d, n = sample.size();
  // Dead rows stand among the best; so many more are asked for.
  const double live =
      std::max(0.25, 1 - static_cast<double>(dead.dead()) / static_cast<double>(rows.rows));
  const int asked = dead.dead() == 0 ? k : static_cast<int>(std::ceil(k / live)) + 16;
  std::vector<float> queries;
  queries.reserve(n * d);
  for (const uint32_t row : sample) {
    const float* vector = rows.vectors + static_cast<size_t>(row) * d;
    queries.insert(queries.end(), vector, vector + d);
  }
  const std::vector<int64_t> exclude(sample.begin(), sample.end());
  std::vector<int64_t> best(n * asked);
  std::vector<float> scores(n * asked);
  absl::Status status =
      BruteForceTopK(rows.vectors, rows.rows, d, rows.rounded.metric, queries.data(), n,
                     exclude.data(), asked, best.data(), scores.data(), checkpoint);
  if (!status.ok()) return status;

  Truth truth;
  for (size_t i = 0; i < n; ++i) {
    int found = 0;
    float worst = 0;
    bool all = false;  // whether the list ends because there are no more rows
    for (int j = 0; j < asked && found < k && !all; ++j) {
      const int64_t row = best[i * asked + j];
      all = row < 0;
      if (all || dead.IsDead(row)) continue;
      ++found;
      worst = scores[i * asked + j];
    }
    if (found == 0 || (found < k && !all)) continue;
    truth.queries.push_back(sample[i]);
    truth.worst.push_back(worst);
    truth.count.push_back(found);
  }
  return truth;
}

}  // namespace

class GraphCalibration {
 public:
  // How many of the best other rows a search for query i finds.
  static absl::StatusOr<int> CountFound(const Graph& graph, const GraphRows& rows,
                                        const Tombstones& dead, const Truth& truth, size_t i, int k,
                                        int ef) {
    const Metric metric = rows.rounded.metric;
    const uint32_t row = truth.queries[i];
    SearchParams params;
    params.k = k;
    params.ef = ef;
    TopK top(metric, k);
    // Hidden, because a walk that meets the row finds all its neighbours at once: easier than for
    // a query that is no row.
    absl::Status status =
        graph.Search(rows, rows.vectors + static_cast<size_t>(row) * rows.rounded.d, params, dead,
                     /*allowed=*/nullptr, /*hidden=*/row, &top, /*work=*/nullptr);
    if (!status.ok()) return status;
    const double worst = truth.worst[i], tie = kTie * std::max(1.0, std::fabs(worst));
    int found = 0;
    for (const Hit& hit : top.Take()) {
      found += metric == Metric::kL2 ? hit.score <= worst + tie : hit.score >= worst - tie;
    }
    return std::min(found, truth.count[i]);
  }
};

absl::StatusOr<Calibration> CalibrateGraph(const Graph& graph, const GraphRows& rows,
                                           const Tombstones& dead,
                                           const std::vector<uint32_t>& sample, int k,
                                           Checkpoint checkpoint) {
  constexpr size_t kSearchesPerCheckpoint = 4;
  if (k < 1) return absl::InvalidArgumentError(absl::StrCat("k is ", k, ", not 1 or more"));
  Calibration calibration;
  calibration.k = k;
  if (sample.empty()) return calibration;
  try {
    const auto truth = FindTruth(rows, dead, sample, k, checkpoint);
    if (!truth.ok()) return truth.status();
    const size_t queries = truth->queries.size();
    if (queries == 0) return calibration;
    calibration.queries = static_cast<int>(queries);
    float least = 0;
    for (const int ef : kBreadths) {
      double recall = 0;
      for (size_t i = 0; i < queries; ++i) {
        if (i % kSearchesPerCheckpoint == 0) {
          if (absl::Status status = checkpoint(); !status.ok()) return status;
        }
        const auto found = GraphCalibration::CountFound(graph, rows, dead, *truth, i, k, ef);
        if (!found.ok()) return found.status();
        recall += static_cast<double>(*found) / truth->count[i];
      }
      least = std::max(least, static_cast<float>(recall / static_cast<double>(queries)));
      calibration.points.push_back({.breadth = ef, .recall = least});
    }
    return calibration;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to calibrate a graph with ", sample.size(), " queries"));
  }
}

}  // namespace vecino::index
