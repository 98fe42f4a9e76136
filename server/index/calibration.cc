#include "server/index/calibration.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/calibration_rows.h"
#include "server/index/calibration_table.h"
#include "server/index/ivf_segment.h"
#include "server/index/near_copies.h"

namespace vecino::index {
namespace {

// Neighbours in lists of higher rank are lost for any probe rule.
constexpr int kMostLists = 8192;
// True neighbours that the rule is made for.
constexpr size_t kRuleNeighbours = 10;

// Where the true neighbours' lists stand among all, by each query's ranking.
absl::StatusOr<ProbeRule> MeasureRule(const AllRows& all, absl::Span<const int64_t> queries,
                                      const BestRows& best, Checkpoint checkpoint, int threads) {
  constexpr double kTarget = 0.95;
  const Generation& generation = *all.first().generation();
  const auto d = static_cast<size_t>(generation.d());
  const auto nlist = static_cast<size_t>(generation.nlist());
  const std::vector<uint32_t> list_of = all.Lists();
  std::vector<ProbeRule::Observation> observations(queries.size());
  absl::Status status = ParallelFor(
      threads, observations.size(), checkpoint, [&](size_t i, Checkpoint) -> absl::Status {
        std::vector<float> gaps;
        generation.ListGaps(Int8Query(all.vector(queries[i]), d), &gaps);
        std::vector<uint32_t> order(nlist), rank(nlist);
        std::iota(order.begin(), order.end(), 0u);
        std::stable_sort(order.begin(), order.end(),
                         [&](uint32_t a, uint32_t b) { return gaps[a] < gaps[b]; });
        for (uint32_t r = 0; r < nlist; ++r) rank[order[r]] = r;
        ProbeRule::Observation& out = observations[i];
        for (size_t r = 0; r < std::min<size_t>(nlist, kMostLists); ++r) {
          out.gaps.push_back(gaps[order[r]]);
        }
        for (size_t j = 0; j < std::min(kRuleNeighbours, best[i].size()); ++j) {
          out.ranks.push_back(rank[list_of[static_cast<size_t>(best[i][j])]]);
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

double Calibration::Sure(double recall, double error, double part) {
  const double missing = 1 - recall;
  return recall - std::max(part * missing, 2.5 * error - std::min(0.005, 0.5 * missing));
}

RecallTable::Curve CurveThrough(absl::Span<const MeasuredBreadth> points) {
  RecallTable::Curve curve;
  for (size_t aim = 0; aim < curve.size(); ++aim) {
    double recall_before = 0, sure_before = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      const double recall = std::max(recall_before, points[i].recall);
      const double sure = std::max(sure_before, Calibration::Sure(recall, points[i].error));
      if (sure >= RecallTable::kAims[aim]) {
        curve[aim] = {static_cast<float>(points[i].breadth), 0, static_cast<float>(recall),
                      static_cast<float>(points[i].scanned)};
        if (i == 0) break;
        const double part = (RecallTable::kAims[aim] - sure_before) / (sure - sure_before);
        curve[aim].breadth = static_cast<float>(
            points[i - 1].breadth *
            std::pow(static_cast<double>(points[i].breadth) / points[i - 1].breadth, part));
        curve[aim].recall = static_cast<float>(recall_before + part * (recall - recall_before));
        curve[aim].scanned = static_cast<float>(points[i - 1].scanned +
                                                part * (points[i].scanned - points[i - 1].scanned));
        break;
      }
      recall_before = recall, sure_before = sure;
    }
  }
  return curve;
}

RecallTable::Curve CurveThroughSettings(absl::Span<const MeasuredSetting> settings) {
  RecallTable::Curve curve;
  for (size_t aim = 0; aim < curve.size(); ++aim) {
    double recall_before = 0, sure_before = 0;
    for (size_t i = 0; i < settings.size(); ++i) {
      const RecallTable::Setting& at = settings[i].setting;
      if (at.breadth <= 0) break;
      const double recall = std::max(recall_before, settings[i].recall);
      const double sure = std::max(sure_before, Calibration::Sure(recall, settings[i].error));
      if (sure < RecallTable::kAims[aim]) {
        recall_before = recall, sure_before = sure;
        continue;
      }
      curve[aim] = {at.breadth, at.rerank, static_cast<float>(recall), at.scanned};
      if (i == 0) break;
      const RecallTable::Setting& before = settings[i - 1].setting;
      const double part = (RecallTable::kAims[aim] - sure_before) / (sure - sure_before);
      const auto between = [part](float a, float b) {
        if (a <= 0 || b <= 0) return b;
        return static_cast<float>(a * std::pow(static_cast<double>(b) / a, part));
      };
      curve[aim] = {between(before.breadth, at.breadth), between(before.rerank, at.rerank),
                    static_cast<float>(recall_before + part * (recall - recall_before)),
                    between(before.scanned, at.scanned)};
      break;
    }
  }
  return curve;
}

int64_t CalibrationBytes(int dimension, int nlist) {
  const int64_t copied = kMostCopied * dimension * int64_t{sizeof(float)};
  // Gaps of each query's lists.
  const int64_t observed =
      int64_t{kCalibrationQueries} * std::min(nlist, kMostLists) * int64_t{sizeof(float)};
  return copied + observed;
}

absl::StatusOr<Calibration> CalibrateIvf(absl::Span<const CalibrationPart> parts, int queries,
                                         uint64_t seed, Checkpoint checkpoint, int threads) {
  try {
    const AllRows all(parts);
    Calibration calibration;
    calibration.rows = all.live();
    if (all.live() < 2 || queries < 1) return calibration;
    const std::vector<int64_t> rows = all.Draw(queries, seed);
    if (rows.empty()) return calibration;
    calibration.k = static_cast<int>(std::min<int64_t>(kCalibrationK, all.live() - 1));
    calibration.queries = static_cast<int>(rows.size());
    // Of every second query more of the best are looked for.
    std::vector<int64_t> of_deep, of_shallow;
    for (size_t i = 0; i < rows.size(); ++i) (i % 2 == 0 ? of_deep : of_shallow).push_back(rows[i]);
    BestRows best(rows.size());
    for (const size_t odd : {size_t{0}, size_t{1}}) {
      const std::vector<int64_t>& some = odd == 0 ? of_deep : of_shallow;
      if (some.empty()) continue;
      const int deep = (odd == 0 ? kDeep : kShallow) + static_cast<int>(NearCopyRule::kMost);
      const int k = static_cast<int>(std::min<int64_t>(deep, all.live() - 1));
      auto found = BestOfAll(all, some, k, checkpoint, threads);
      if (!found.ok()) return found.status();
      for (size_t i = 0; i < some.size(); ++i) best[2 * i + odd] = std::move((*found)[i]);
    }
    const BestRows copies = TakeNearCopies(all, rows, &best);
    auto rule = MeasureRule(all, rows, best, checkpoint, threads);
    if (!rule.ok()) return rule.status();
    calibration.rule = *std::move(rule);
    absl::Status status =
        MeasureTable(all, rows, best, copies, seed + 1, checkpoint, threads, &calibration);
    if (!status.ok()) return status;
    return calibration;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to calibrate ", parts.size(), " segments"));
  }
}

}  // namespace vecino::index
