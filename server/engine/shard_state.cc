// What maintenance sees of a shard.
#include <vector>

#include "absl/time/clock.h"
#include "server/engine/drift.h"
#include "server/engine/shard.h"

namespace vecino::engine {
namespace {

// Change records that may pile up, in tails, before they are trimmed although no tail is full.
constexpr uint64_t kMaxLogTails = 8;

}  // namespace

bool Shard::LogIsLong() const {
  return applied_.load() - saved_through_.load() >
         kMaxLogTails * static_cast<uint64_t>(index_.options().tail_capacity);
}

MaintenanceState Shard::State() const {
  MaintenanceState state;
  state.spec = index_spec();
  state.now = absl::Now();
  const std::shared_ptr<const index::View> view = index_.Pin();
  state.frozen_tails = static_cast<int>(view->frozen.size());
  state.tail_rows = view->tail->size();
  state.last_write = last_write_;
  state.retrain_failed = retrain_failed_;
  state.retrain_not_before = retrain_not_before_;
  state.recall_not_before = recall_not_before_;
  for (const index::SegmentRows& rows : view->segments) {
    MaintenanceState::Segment segment;
    segment.kind = rows.segment->kind();
    segment.rows = rows.segment->size();
    segment.dead = rows.dead->dead();
    if (const index::IvfSegment* ivf = index::AsIvf(*rows.segment); ivf != nullptr) {
      segment.generation = ivf->generation()->id();
      segment.graph = ivf->graph() != nullptr;
    }
    if (const auto place = places_.find(rows.segment.get()); place != places_.end()) {
      segment.since = place->second.since;
      segment.graph_refused = place->second.graph_refused;
    }
    state.segments.push_back(segment);
  }
  if (generation_ != nullptr) {
    state.generation = generation_->id();
    state.trained_rows = generation_->trained_rows();
    state.calibrated_rows = generation_->calibration().rows;
    state.base_error = generation_->base_error();
    state.base_imbalance = generation_->base_imbalance();
    state.recent_rows = recent_.rows;
    if (recent_.rows > 0) {
      state.recent_error = recent_.squared_distance / static_cast<double>(recent_.rows);
    }
    state.imbalance = imbalance_;
    state.base_quantization = generation_->base_quantization();
    if (recent_.coded_rows > 0) {
      state.recent_quantization =
          recent_.squared_code_error / static_cast<double>(recent_.coded_rows);
    }
    state.recall = live_recall_;
  }
  return state;
}

double Shard::ImbalanceOf(const std::vector<const index::Segment*>& segments,
                          const index::Generation* generation) {
  if (generation == nullptr) return 1;
  std::vector<int64_t> lists(static_cast<size_t>(generation->nlist()));
  for (const index::Segment* segment : segments) {
    const index::IvfSegment* ivf = index::AsIvf(*segment);
    if (ivf == nullptr || ivf->generation().get() != generation) continue;
    for (int list = 0; list < generation->nlist(); ++list) {
      lists[static_cast<size_t>(list)] += ivf->list_begin(list + 1) - ivf->list_begin(list);
    }
  }
  double sum = 0, squares = 0;
  for (const int64_t size : lists) {
    sum += static_cast<double>(size);
    squares += static_cast<double>(size) * static_cast<double>(size);
  }
  return sum > 0 ? static_cast<double>(lists.size()) * squares / (sum * sum) : 1;
}

void Shard::NoteRecall(const RecallFigures& recall, uint64_t epoch) {
  bool due = false;
  {
    absl::MutexLock lock(&index_mu_);
    if (recall.oldest < published_at_) return;
    if (epoch < recall_since_.load(std::memory_order_acquire)) return;
    live_recall_ = recall;
    // Also when it has to wait: who maintains asks when to look again.
    due = MeasureDrift(State(), options_.maintenance)[static_cast<size_t>(Drift::kRecall)].due;
  }
  if (due && maintenance_due_ != nullptr) maintenance_due_();
}

bool Shard::HasWork() const {
  return !requests_.empty() || LogIsLong() || fields_.MergeDue() ||
         NextStep(State(), options_.maintenance).kind != MaintenanceStep::Kind::kNone;
}

bool Shard::TailWantsALook(int64_t rows_before) const {
  const int64_t rows = index_.Pin()->tail->size();
  const int64_t enough = options_.maintenance.quiet_tail_rows;
  return rows >= enough && (rows_before < enough || rows < rows_before);
}

bool Shard::MaintenanceDue() const {
  absl::MutexLock lock(&index_mu_);
  return HasWork();
}

}  // namespace vecino::engine
