#include <algorithm>
#include <cmath>
#include <vector>

#include "server/index/distance.h"
#include "server/index/faiss_build.h"
#include "server/index/faiss_status.h"
#include "server/index/top_k.h"

namespace vecino::index {
namespace {

constexpr int64_t kQueries = 200;  // at most; ±.009 at .95
constexpr int64_t kMinRows = 32;
constexpr int kK = 10;
constexpr float kTie = 1e-6f;      // duplicates may come in either order
constexpr double kEnough = 0.995;  // wider is not measured
constexpr int64_t kStep = 256;

// Some of the rows, and the score of the k-th best other row of each.
struct Truth {
  std::vector<int64_t> slots;
  std::vector<float> queries;
  std::vector<float> kth;
};

absl::StatusOr<Truth> MakeTruth(const FaissView& view, Checkpoint checkpoint) {
  const size_t d = view.rows.d;
  Truth truth;
  const int64_t count = std::min(kQueries, view.n / 2);
  std::vector<TopK> best;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t slot = i * view.n / count;
    truth.slots.push_back(slot);
    truth.queries.insert(truth.queries.end(), view.rows[slot], view.rows[slot] + d);
    best.emplace_back(view.metric, kK);
  }
  std::vector<float> scores(truth.slots.size());
  for (int64_t slot = 0; slot < view.n; ++slot) {
    if (slot % kStep == 0) {
      if (absl::Status status = checkpoint(); !status.ok()) return status;
    }
    Score(view.metric, view.rows[slot], truth.queries.data(), d, scores.size(), scores.data());
    for (size_t i = 0; i < scores.size(); ++i) {
      if (truth.slots[i] != slot) best[i].Push(static_cast<uint64_t>(slot), scores[i]);
    }
  }
  for (TopK& top : best) {
    const std::vector<Hit> hits = top.Take();
    truth.kth.push_back(hits.empty() ? 0 : hits.back().score);
  }
  return truth;
}

absl::StatusOr<double> Recall(const FaissView& view, const Truth& truth,
                              const FaissBreadth& breadth, Checkpoint checkpoint) {
  const Tombstones none(view.n);
  double found = 0;
  for (size_t i = 0; i < truth.slots.size(); ++i) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    TopK top(view.metric, breadth.k);
    absl::Status status =
        SearchFaiss(view, truth.queries.data() + i * view.rows.d, breadth, none, nullptr, &top);
    if (!status.ok()) return status;
    std::vector<Hit> hits = top.Take();
    std::erase_if(
        hits, [&](const Hit& hit) { return hit.label == static_cast<uint64_t>(truth.slots[i]); });
    const float tie = kTie * std::max(1.0f, std::abs(truth.kth[i]));
    int64_t good = 0;
    for (const Hit& hit : hits) {
      good += view.metric == Metric::kL2 ? hit.score <= truth.kth[i] + tie
                                         : hit.score >= truth.kth[i] - tie;
    }
    found += static_cast<double>(std::min<int64_t>(good, kK)) / kK;
  }
  return found / static_cast<double>(truth.slots.size());
}

}  // namespace

absl::StatusOr<Calibration> CalibrateFaiss(const FaissView& asked, Checkpoint checkpoint) {
  Calibration calibration;
  if (asked.n < kMinRows) return calibration;
  FaissView view = asked;
  view.labels = nullptr;  // slots
  absl::Status status = CatchFaiss("calibrate a segment", [&] {
    auto truth = MakeTruth(view, checkpoint);
    if (!truth.ok()) return truth.status();
    calibration.k = kK;
    calibration.queries = static_cast<int>(truth->slots.size());
    const bool ivf = view.list_begin != nullptr;
    const int64_t most = ivf ? FaissListCount(view) : view.n;
    double reached = 0;
    for (int64_t step = ivf ? 1 : 16;; step *= 2) {
      const auto breadth = static_cast<int>(std::min(step, most));
      FaissBreadth wide = {.k = kK + 1, .nprobe = breadth, .ef = breadth, .rerank = breadth};
      if (view.kind != SegmentKind::kLsh) wide.rerank = DefaultRerank(view.kind, wide.k);
      auto recall = Recall(view, *truth, wide, checkpoint);
      if (!recall.ok()) return recall.status();
      reached = std::max(reached, *recall);
      calibration.points.push_back({breadth, static_cast<float>(reached)});
      if (reached >= kEnough || breadth >= most) return absl::OkStatus();
    }
  });
  if (!status.ok()) return status;
  return calibration;
}

}  // namespace vecino::index
