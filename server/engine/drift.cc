#include "server/engine/drift.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/engine/recall_estimate.h"

namespace vecino::engine {
namespace {

int64_t Rows(const MaintenanceState& state) {
  int64_t rows = 0;
  for (const auto& segment : state.segments) rows += segment.rows - segment.dead;
  return rows;
}

double Ratio(double value, double base) { return base > 0 ? value / base : 0; }

// See Drift::kRecall.
bool RecallIsDue(const RecallFigures& recall, const MaintenancePolicy& policy) {
  if (recall.samples < policy.min_recall_samples) return false;
  const double promised = recall.target - policy.gate_target_slack;
  const double width = recall.upper - recall.lower, middle = recall.lower + width / 2;
  return recall.upper < promised || (width <= 2 * policy.recall_half_width && middle < promised);
}

}  // namespace

std::array<DriftSignal, kDriftSignals> MeasureDrift(const MaintenanceState& state,
                                                    const MaintenancePolicy& policy) {
  std::array<DriftSignal, kDriftSignals> signals;
  const auto set = [&](Drift drift, const char* name, double value, double limit, bool due) {
    signals[static_cast<size_t>(drift)] = {name, value, limit, due};
  };
  double dead = 0;
  for (const auto& segment : state.segments) {
    dead =
        std::max(dead, Ratio(static_cast<double>(segment.dead), static_cast<double>(segment.rows)));
  }
  const bool trained = state.generation != 0;
  const double growth =
      trained ? Ratio(static_cast<double>(Rows(state)), static_cast<double>(state.trained_rows))
              : 0;
  // Judged on enough new rows only, of which there are some in segments.
  const double least = std::max(static_cast<double>(policy.min_drift_rows),
                                policy.min_drift_share * static_cast<double>(state.trained_rows));
  const bool enough =
      trained && !state.segments.empty() && static_cast<double>(state.recent_rows) >= least;
  const double imbalance = trained ? Ratio(state.imbalance, state.base_imbalance) : 0;
  const double error = Ratio(state.recent_error, state.base_error);
  const double quantization = Ratio(state.recent_quantization, state.base_quantization);
  const bool measured = trained && state.recall.samples >= kEnoughRecallSamples;
  set(Drift::kGrowth, "growth", growth, policy.max_growth, trained && growth > policy.max_growth);
  set(Drift::kImbalance, "imbalance", imbalance, policy.max_imbalance_growth,
      enough && imbalance > policy.max_imbalance_growth);
  set(Drift::kAssignmentError, "assignment_error", error, policy.max_error_growth,
      enough && error > policy.max_error_growth);
  set(Drift::kDeletedShare, "deleted_share", dead, policy.max_dead_share,
      dead > policy.max_dead_share);
  set(Drift::kQuantizationError, "quantization_error", quantization, policy.max_quantization_growth,
      enough && quantization > policy.max_quantization_growth);
  set(Drift::kRecall, "recall", measured ? state.recall.lower : 0,
      measured ? state.recall.target : 0, measured && RecallIsDue(state.recall, policy));
  return signals;
}

bool HasDrifted(const MaintenanceState& state, const MaintenancePolicy& policy) {
  const auto signals = MeasureDrift(state, policy);
  for (size_t i = 0; i < signals.size(); ++i) {
    if (signals[i].due && i != static_cast<size_t>(Drift::kDeletedShare)) return true;
  }
  return false;
}

bool AreRowsUnchanged(const MaintenanceState& state, const MaintenancePolicy& policy) {
  if (state.generation == 0 || state.trained_rows == 0) return false;
  const auto trained = static_cast<double>(state.trained_rows);
  const double most = policy.min_drift_share * trained;
  return std::abs(static_cast<double>(Rows(state)) - trained) <= most &&
         static_cast<double>(state.recent_rows) <= most;
}

std::string DescribeDrift(Drift drift, const MaintenanceState& state,
                          const MaintenancePolicy& policy) {
  const auto signals = MeasureDrift(state, policy);
  const DriftSignal& signal = signals[static_cast<size_t>(drift)];
  const std::string head =
      absl::StrFormat("%s %.3g is %s %.3g: ", signal.name, signal.value,
                      drift == Drift::kRecall ? "below" : "above", signal.limit);
  switch (drift) {
    case Drift::kGrowth:
      return absl::StrCat(head, Rows(state), " rows, ", state.trained_rows, " when generation ",
                          state.generation, " was trained");
    case Drift::kImbalance:
      return absl::StrFormat("%simbalance of lists rose from %.3g to %.3g", head,
                             state.base_imbalance, state.imbalance);
    case Drift::kAssignmentError:
      return absl::StrFormat(
          "%sthe last %d rows lie %.3g from their centroids (squared), those of "
          "training %.3g",
          head, state.recent_rows, state.recent_error, state.base_error);
    case Drift::kDeletedShare:
      return absl::StrCat(head, "the share of a segment's rows that are dead");
    case Drift::kQuantizationError:
      return absl::StrFormat(
          "%sproduct codes of the last %d rows are off by %.3g (squared), those "
          "of training by %.3g",
          head, state.recent_rows, state.recent_quantization, state.base_quantization);
    case Drift::kRecall:
      return absl::StrFormat("%s%d live searches found %.3f to %.3f, asked for %.3f", head,
                             state.recall.samples, state.recall.lower, state.recall.upper,
                             state.recall.target);
  }
  return head;
}

}  // namespace vecino::engine
