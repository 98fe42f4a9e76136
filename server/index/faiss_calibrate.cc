#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "absl/algorithm/container.h"
#include "server/index/calibration_rows.h"
#include "server/index/distance.h"
#include "server/index/faiss_build.h"
#include "server/index/faiss_status.h"
#include "server/index/near_copies.h"
#include "server/index/top_k.h"

namespace vecino::index {
namespace {

constexpr int64_t kQueries = 200;  // at most; ±.009 at .95
constexpr int64_t kMinRows = 32;
constexpr int kK = 10;  // of the points
constexpr std::array<int, 3> kKs = {1, 10, 100};
constexpr float kTie = 1e-6f;      // duplicates may come in either order
constexpr double kEnough = 0.998;  // wider is not measured
constexpr int64_t kStep = 256;
constexpr uint64_t kSeed = 1;
// Times the usual number of rows scored again, where codes lose too much with that.
constexpr std::array<int, 3> kReranks = {1, 4, 16};
// What a row's code costs beside a row's floats, anywhere in memory.
constexpr double kCode = 3, kFloats = 120;

// Some of the rows, and the scores of the best other rows of each, but for its near copies, best
// first, among a random share of all.
struct Truth {
  double share = 1;
  std::vector<uint64_t> allowed;           // empty: all
  std::vector<std::vector<float>> scores;  // of each query
};
struct Queries {
  std::vector<int64_t> slots;
  std::vector<float> vectors;
  std::vector<std::vector<int64_t>> unasked;  // of each, its own slot and its near copies'
  std::vector<Truth> truths;

  bool Asks(size_t i, uint64_t slot) const {
    return !absl::c_linear_search(unasked[i], static_cast<int64_t>(slot));
  }
};

// What each query is not asked for. best: of all other rows, labelled by slots.
std::vector<std::vector<int64_t>> Unasked(const FaissView& view, absl::Span<const int64_t> queries,
                                          absl::Span<const std::vector<Hit>> best) {
  std::vector<Neighbours> neighbours;
  for (size_t i = 0; i < queries.size(); ++i) {
    Neighbours& of_query = neighbours.emplace_back(Neighbours{view.rows[queries[i]], {}});
    for (const Hit& hit : best[i]) {
      of_query.best.push_back(view.rows[static_cast<int64_t>(hit.label)]);
    }
  }
  const auto is_copy = FindNearCopies(view.metric, neighbours, view.rows.d);
  std::vector<std::vector<int64_t>> unasked;
  for (size_t i = 0; i < queries.size(); ++i) {
    std::vector<int64_t>& of_query = unasked.emplace_back(std::vector<int64_t>{queries[i]});
    for (size_t j = 0; j < is_copy[i].size(); ++j) {
      if (is_copy[i][j]) of_query.push_back(static_cast<int64_t>(best[i][j].label));
    }
  }
  return unasked;
}

absl::StatusOr<Queries> MakeTruth(const FaissView& view, Checkpoint checkpoint) {
  const size_t d = view.rows.d;
  Queries queries;
  const int64_t count = std::min(kQueries, view.n / 2);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t slot = i * view.n / count;
    queries.slots.push_back(slot);
    queries.vectors.insert(queries.vectors.end(), view.rows[slot], view.rows[slot] + d);
  }
  // Where fewer pass, all of them are compared.
  std::vector<double> shares = {1};
  for (const double share : {0.5, 0.1}) {
    if (share * static_cast<double>(view.n) > kFaissDirectRows) shares.push_back(share);
  }
  std::vector<RandomShare> some;
  std::vector<std::vector<TopK>> best;
  for (const double share : shares) {
    some.emplace_back(share, kSeed);
    best.emplace_back(queries.slots.size(),
                      TopK(view.metric, kKs.back() + static_cast<int>(NearCopyRule::kMost)));
    Truth& truth = queries.truths.emplace_back(Truth{.share = share, .allowed = {}, .scores = {}});
    if (share < 1) truth.allowed.resize(static_cast<size_t>(view.n + 63) / 64);
  }
  std::vector<float> scores(queries.slots.size());
  for (int64_t slot = 0; slot < view.n; ++slot) {
    if (slot % kStep == 0) {
      if (absl::Status status = checkpoint(); !status.ok()) return status;
    }
    Score(view.metric, view.rows[slot], queries.vectors.data(), d, scores.size(), scores.data());
    for (size_t s = 0; s < shares.size(); ++s) {
      if (!some[s].Has(slot)) continue;
      if (shares[s] < 1) {
        queries.truths[s].allowed[static_cast<size_t>(slot / 64)] |= uint64_t{1} << (slot % 64);
      }
      for (size_t i = 0; i < scores.size(); ++i) {
        if (queries.slots[i] != slot) best[s][i].Push(static_cast<uint64_t>(slot), scores[i]);
      }
    }
  }
  for (size_t s = 0; s < shares.size(); ++s) {
    std::vector<std::vector<Hit>> hits;
    for (TopK& top : best[s]) hits.push_back(top.Take());
    if (s == 0) queries.unasked = Unasked(view, queries.slots, hits);
    for (size_t i = 0; i < queries.slots.size(); ++i) {
      std::vector<float>& of_query = queries.truths[s].scores.emplace_back();
      for (const Hit& hit : hits[i]) {
        if (of_query.size() == static_cast<size_t>(kKs.back())) break;
        if (queries.Asks(i, hit.label)) of_query.push_back(hit.score);
      }
    }
  }
  return queries;
}

absl::StatusOr<MeasuredBreadth> Measure(const FaissView& view, const Queries& queries,
                                        const Truth& truth, int k, FaissBreadth breadth,
                                        Checkpoint checkpoint) {
  const Tombstones none(view.n);
  MeasuredBreadth measured;
  double sum = 0, squares = 0, scanned = 0;
  for (size_t i = 0; i < queries.slots.size(); ++i) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    const auto count = std::min(static_cast<size_t>(k), truth.scores[i].size());
    // Room for what is not asked for.
    const int copies = static_cast<int>(queries.unasked[i].size()) - 1;
    FaissBreadth of_query = breadth;
    of_query.ef += copies;
    of_query.rerank += copies;
    TopK top(view.metric, breadth.k + copies);
    FaissWork work;
    absl::Status status =
        SearchFaiss(view, queries.vectors.data() + i * view.rows.d, of_query, none,
                    truth.allowed.empty() ? nullptr : truth.allowed.data(), &top, &work);
    if (!status.ok()) return status;
    const float worst = count == 0 ? 0 : truth.scores[i][count - 1];
    const float tie = kTie * std::max(1.0f, std::abs(worst));
    size_t good = 0;
    for (const Hit& hit : top.Take()) {
      if (!queries.Asks(i, hit.label)) continue;
      good += view.metric == Metric::kL2 ? hit.score <= worst + tie : hit.score >= worst - tie;
    }
    const double recall =
        count == 0 ? 1 : static_cast<double>(std::min(good, count)) / static_cast<double>(count);
    sum += recall;
    squares += recall * recall;
    scanned += static_cast<double>(work.scanned);
  }
  const auto n = static_cast<double>(queries.slots.size());
  measured.recall = sum / n;
  measured.error = std::sqrt(std::max(0.0, squares / n - measured.recall * measured.recall) / n);
  measured.scanned = std::min(1.0, scanned / n / static_cast<double>(view.n));
  return measured;
}

// Of two curves the cheaper setting for each aim.
void TakeCheaper(const RecallTable::Curve& other, double rows, RecallTable::Curve* curve) {
  const auto cost = [&](const RecallTable::Setting& of) {
    return of.scanned * rows * kCode + of.rerank * kFloats;
  };
  for (size_t i = 0; i < curve->size(); ++i) {
    const bool better = (*curve)[i].breadth == 0 || cost(other[i]) < cost((*curve)[i]);
    if (other[i].breadth > 0 && better) (*curve)[i] = other[i];
  }
}

class FaissTableMaker {
 public:
  FaissTableMaker(const FaissView& view, const Queries& queries, Checkpoint checkpoint,
                  Calibration* calibration)
      : view_(view), queries_(queries), checkpoint_(checkpoint), calibration_(*calibration) {}

  absl::Status Run() {
    for (const int k : kKs) {
      for (const Truth& truth : queries_.truths) {
        RecallTable::Curve curve;
        const bool codes = view_.kind == SegmentKind::kIvfSq8 || view_.kind == SegmentKind::kIvfPq;
        for (const int times : kReranks) {
          auto points = Widen(truth, k, times);
          if (!points.ok()) return points.status();
          RecallTable::Curve one = CurveThrough(*points);
          for (RecallTable::Setting& setting : one) {
            if (setting.breadth > 0 && codes) setting.rerank = static_cast<float>(Rerank(k, times));
          }
          TakeCheaper(one, static_cast<double>(view_.n), &curve);
          if (k == kK && truth.share == 1 && times == 1) FillPoints(*points);
          if (!codes || points->back().recall >= kEnough) break;
        }
        calibration_.table.Add(RecallTable::How::kCodes, k, static_cast<float>(truth.share), curve);
      }
    }
    return absl::OkStatus();
  }

 private:
  int Rerank(int k, int times) const { return times * DefaultRerank(view_.kind, k + 1); }

  absl::StatusOr<std::vector<MeasuredBreadth>> Widen(const Truth& truth, int k, int times) const {
    const bool ivf = view_.list_begin != nullptr;
    const int64_t most = ivf ? FaissListCount(view_) : view_.n;
    std::vector<MeasuredBreadth> points;
    for (int64_t step = ivf ? 1 : 16;; step *= 2) {
      const auto breadth = static_cast<int>(std::min(step, most));
      FaissBreadth wide = {.k = k + 1, .nprobe = breadth, .ef = breadth, .rerank = breadth};
      if (view_.kind != SegmentKind::kLsh) wide.rerank = Rerank(k, times);
      auto measured = Measure(view_, queries_, truth, k, wide, checkpoint_);
      if (!measured.ok()) return measured.status();
      measured->breadth = breadth;
      points.push_back(*measured);
      if (measured->recall >= kEnough || breadth >= most) return points;
    }
  }

  void FillPoints(const std::vector<MeasuredBreadth>& points) {
    float reached = 0;
    for (const MeasuredBreadth& point : points) {
      reached = std::max(reached, static_cast<float>(point.recall));
      calibration_.points.push_back({point.breadth, reached});
    }
  }

  const FaissView& view_;
  const Queries& queries_;
  const Checkpoint checkpoint_;
  Calibration& calibration_;
};

}  // namespace

absl::StatusOr<Calibration> CalibrateFaiss(const FaissView& asked, Checkpoint checkpoint) {
  Calibration calibration;
  if (asked.n < kMinRows) return calibration;
  FaissView view = asked;
  view.labels = nullptr;  // slots
  absl::Status status = CatchFaiss("calibrate a segment", [&] {
    auto queries = MakeTruth(view, checkpoint);
    if (!queries.ok()) return queries.status();
    calibration.k = kK;
    calibration.queries = static_cast<int>(queries->slots.size());
    calibration.rows = view.n;
    return FaissTableMaker(view, *queries, checkpoint, &calibration).Run();
  });
  if (!status.ok()) return status;
  return calibration;
}

}  // namespace vecino::index
