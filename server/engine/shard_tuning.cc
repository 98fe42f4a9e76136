// What a tuning measured becomes what searches go by.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/engine/shard.h"
#include "server/engine/tuning.h"
#include "server/index/ivf_search.h"

namespace vecino::engine {
namespace {

using How = index::RecallTable::How;

// Shares of filters that are as good as the same.
constexpr double kSameShare = 0.05;

// Rows of lists are chosen as SearchIvf does.
How HowOf(const index::RecallTable& table, const TunedKind& kind) {
  const bool sparse = kind.filtered && kind.share * index::kSparse < 1;
  return sparse && table.has(How::kRows) ? How::kRows : How::kCodes;
}

// Under which share it is stored: one that is there, if it is as good as the same.
float ShareFor(const index::RecallTable& table, How how, const TunedKind& kind) {
  if (!kind.filtered) return 1;
  for (const float share : table.shares(how)) {
    if (share < 1 && std::abs(std::log(kind.share / share)) < kSameShare) return share;
  }
  return static_cast<float>(kind.share);
}

}  // namespace

Shard::TuningBasis Shard::BeginTuning() const {
  TuningBasis basis;
  absl::MutexLock lock(&index_mu_);
  basis.generation = generation_;
  if (generation_ == nullptr) return basis;
  basis.calibration = &generation_->calibration();
  int64_t most = 0;
  const std::shared_ptr<const index::View> view = index_.Pin();
  for (const index::SegmentRows& rows : view->segments) {
    const index::IvfSegment* const ivf = index::AsIvf(*rows.segment);
    if (ivf == nullptr || ivf->graph() == nullptr || ivf->generation() != generation_) continue;
    if (ivf->size() <= most) continue;
    most = basis.graph_rows = ivf->size();
    basis.graph = ivf->graph();
  }
  return basis;
}

std::string Shard::WhyNotTuned(const TuningBasis& basis, const TunedKind& kind, double* exact,
                               bool* of_graph) const {
  const bool all = std::all_of(kind.figures.begin(), kind.figures.end(),
                               [](const RungFigures& rung) { return rung.exact; });
  if (all) return "such searches compare every row, which is exact";
  const index::IndexSpec spec = index_spec();
  if (spec.nprobe > 0 || spec.ef_search > 0) {
    return "its index policy says nprobe or ef_search, and searches take that";
  }
  if (index::IsFaissKind(spec.kind)) {
    return "an index of this kind keeps what was measured when it was built; searches can be given "
           "nprobe or ef_search";
  }
  const int64_t queries = kind.figures.front().recalls.searches;
  if (queries < kEnoughRecallSamples) {
    return absl::StrCat("measured on ", queries, " queries; ", kEnoughRecallSamples,
                        " are needed to go by them");
  }
  // What else is searched: tails, flat segments, those of an older generation, graphs.
  int64_t live = 0, ruled = 0, under_graph = 0;
  const std::shared_ptr<const index::View> view = index_.Pin();
  for (const index::SegmentRows& rows : view->segments) {
    const int64_t of_segment = rows.segment->size() - rows.dead->dead();
    live += of_segment;
    const index::IvfSegment* const ivf = index::AsIvf(*rows.segment);
    if (ivf == nullptr || ivf->generation() != basis.generation) continue;
    if (ivf->graph() == nullptr || kind.filtered) {
      ruled += of_segment;
    } else if (ivf->graph() == basis.graph) {
      under_graph = of_segment;
    }
  }
  for (const auto& tail : view->frozen) live += tail->size() - tail->tombstones().dead();
  live += view->tail->size() - view->tail->tombstones().dead();
  *of_graph = under_graph > ruled;
  if (*of_graph) ruled = under_graph;
  *exact = live == 0 ? 1 : 1 - static_cast<double>(ruled) / static_cast<double>(live);
  if (2 * ruled < live) {
    return "most of its rows are found row by row or by several graphs, not by its lists or by one "
           "graph";
  }
  const bool has_table =
      *of_graph ? basis.graph->calibration().table.has(How::kCodes)
                : basis.calibration != nullptr && basis.calibration->table.has(How::kCodes);
  if (!has_table) return "its index was calibrated by an older version; retrain it first";
  return "";
}

absl::Status Shard::StoreTuning(const TuningBasis& basis, const TunedKind& kind,
                                Operation::Outcome* outcome) {
  *outcome = {};
  const auto check_basis = [&]() -> absl::Status {
    const TuningBasis now = BeginTuning();
    if (now.generation == basis.generation && now.calibration == basis.calibration &&
        now.graph == basis.graph) {
      return absl::OkStatus();
    }
    return absl::AbortedError(absl::StrCat("shard ", options_.number,
                                           " was trained or calibrated, or got or lost a graph, "
                                           "while it was measured; tune it again"));
  };
  if (absl::Status status = check_basis(); !status.ok()) return status;
  double exact = 0;
  bool of_graph = false;
  outcome->reason = WhyNotTuned(basis, kind, &exact, &of_graph);
  if (!outcome->reason.empty()) {
    outcome->kind = Operation::Outcome::Kind::kNotNeeded;
    return absl::OkStatus();
  }
  const index::RecallTable* const tuned_before = basis.calibration->GraphTable(basis.graph_rows);
  const index::RecallTable& table = !of_graph                 ? basis.calibration->table
                                    : tuned_before != nullptr ? *tuned_before
                                                              : basis.graph->calibration().table;
  const How how = of_graph ? How::kCodes : HowOf(table, kind);
  // Of which the choices' shares are.
  const int64_t all_rows = of_graph ? basis.graph_rows : basis.calibration->rows;
  // Where documents expire a search asks for some rows more, one more or less by the moment; it
  // goes by the curve for what it would ask for without them, or the nearest.
  const int asked = RowsFor(kind.k_searched, Expired().size());
  int k = RowsFor(kind.k, 0), searched = asked;
  if (kind.shards > 1) {
    k = index::RowsOfShard(kind.k, kind.shards);
    searched = k + asked - kind.k_searched;  // one more where the query stands
  }
  const double share = kind.filtered ? kind.share : 1;
  std::vector<index::MeasuredSetting> settings;
  for (size_t i = 0; i < kind.rungs.size(); ++i) {
    const RungFigures& rung = kind.figures[i];
    const auto choice = table.ForPart(how, kind.rungs[i].target, searched, asked, share,
                                      static_cast<double>(all_rows));
    if (rung.exact || choice.breadth == 0) break;  // and so are all behind it
    const double factor = kind.rungs[i].factor;
    const double most = of_graph ? static_cast<double>(basis.graph_rows)
                                 : static_cast<double>(basis.generation->nlist());
    // A walk keeps as many rows as it is asked for, at least.
    const double breadth =
        (of_graph ? std::max<double>(asked, std::ceil(choice.breadth)) : choice.breadth) * factor;
    // What is searched exactly besides is found anyway.
    const double recall = std::clamp((rung.recalls.mean() - exact) / (1 - exact), 0.0, 1.0);
    settings.push_back({{.breadth = static_cast<float>(std::min(breadth, most)),
                         .rerank = static_cast<float>(choice.rerank * std::max(1.0, factor)),
                         .recall = 0,
                         .scanned = static_cast<float>(std::min(1.0, choice.scanned * factor))},
                        recall,
                        rung.error() / (1 - exact)});
  }
  const index::RecallTable::Curve curve = index::CurveThroughSettings(settings);
  index::Calibration calibration = *basis.calibration;
  const float stored_share = ShareFor(table, how, kind);
  index::RecallTable tuned = table;
  // In one of several shards what common searches look for lies between what was measured: it stays
  // what it was when another is tuned.
  const auto rows = static_cast<double>(all_rows);
  std::vector<int> parts;
  for (const int common : {10, 100}) {
    const int part = index::RowsOfShard(common, kind.shards);
    if (kind.shards == 1 || part == k) continue;
    parts.push_back(part);
    tuned = tuned.With(how, part, stored_share,
                       table.CurveForPart(how, part, common, stored_share, rows), parts);
  }
  tuned = tuned.With(how, k, stored_share, curve, parts);
  if (of_graph) {
    calibration.graph_table = tuned;
    calibration.graph_rows = basis.graph_rows;
  } else {
    calibration.table = tuned;
  }
  calibration.tuned_at_us = absl::ToUnixMicros(absl::Now());
  calibration.tuned_points = static_cast<int32_t>(settings.size());

  // Of the target, before: between the settings that were measured.
  const auto rung_at = std::lower_bound(
      kind.rungs.begin(), kind.rungs.end(), kind.target,
      [](const TuningRung& rung, double target) { return rung.target < target - 1e-6; });
  const auto before = static_cast<size_t>(std::min<ptrdiff_t>(
      rung_at - kind.rungs.begin(), static_cast<ptrdiff_t>(kind.figures.size()) - 1));
  const auto scanned_by = [&](const index::RecallTable& by) {
    const auto choice = by.ForPart(how, kind.target, k, RowsFor(kind.k, 0), stored_share, rows);
    return std::llround(choice.breadth == 0 ? share * rows : choice.scanned * rows);
  };
  const auto after = tuned.For(how, kind.target, k, stored_share);
  outcome->recall_before = std::min(1.0, kind.figures[before].recalls.mean());
  outcome->recall_after = after.breadth == 0 ? 1 : after.recall;
  outcome->rows_before = scanned_by(table);
  outcome->rows_after = scanned_by(tuned);
  const std::string told = absl::StrFormat(
      "tuned%s for k %d and a share of %.3g, on %d queries: recall at %.3g %.4f -> %.4f",
      of_graph ? " its graph" : "", kind.k, share, kind.figures.front().recalls.searches,
      kind.target, outcome->recall_before, outcome->recall_after);

  absl::MutexLock lock(&calibration_mu_);
  {
    absl::MutexLock of_applied(&applied_mu_);
    if (!closed_.ok()) return closed_;
  }
  if (absl::Status status = check_basis(); !status.ok()) return status;
  // In the place of the file with the old one, under the same name, as a calibration does.
  if (!files_.in_memory()) {
    const std::string path = files_.Generation(basis.generation->id());
    if (absl::Status saved = basis.generation->Save(path, calibration); !saved.ok()) return saved;
  }
  basis.generation->SetCalibration(std::move(calibration));
  ForgetRecall();
  outcome->kind = Operation::Outcome::Kind::kPublished;
  Tell(Event::Kind::kCalibrate, told);
  spdlog::info("shard {} of collection {}: {}", options_.number, options_.collection, told);
  absl::MutexLock of_index(&index_mu_);
  last_choice_ = told;
  return absl::OkStatus();
}

}  // namespace vecino::engine
