// What is measured of a shard's searches, and what follows from it.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "server/engine/shard.h"

namespace vecino::engine {

void Shard::AddRecall(RecallSource source, const RecallSample& sample, uint64_t epoch) {
  // Of an index that is gone.
  if (epoch < recall_since_.load(std::memory_order_acquire)) return;
  recall_.Add(source, sample);
  if (source != RecallSource::kLive) return;
  const RecallEstimate live = recall_.Estimate(source, sample.time);
  NoteRecall({.lower = live.lower,
              .upper = live.upper,
              .target = live.recall_target,
              .samples = live.samples,
              .oldest = live.oldest},
             epoch);
}

bool Shard::CorrectBreadth(const RecallSample& sample, uint64_t epoch) {
  // Who said a number of lists gets that.
  const index::IndexSpec spec = index_spec();
  if (spec.nprobe > 0 || spec.ef_search > 0 || !sample.by_breadth || !IsApproximate()) return true;
  std::optional<std::string> changed = breadth_.Add(sample, epoch);
  if (changed.has_value()) {
    spdlog::info("shard {} of collection {}: {}", options_.number, options_.collection, *changed);
    Tell(Event::Kind::kCalibrate, *std::move(changed));
  }
  return breadth_.IsSettled(sample.k, sample.share);
}

void Shard::ForgetRecall() {
  breadth_.Reset();
  recall_since_.store(breadth_.epoch(), std::memory_order_release);
  recall_.Clear();
  absl::MutexLock lock(&index_mu_);
  live_recall_ = {};
}

void Shard::SetIndex(const index::IndexSpec& spec) {
  const index::IndexSpec before = index_spec();
  spec_.Set(spec);
  if (spec.recall_target != before.recall_target || spec.nprobe != before.nprobe ||
      spec.ef_search != before.ef_search) {
    ForgetRecall();
    absl::MutexLock lock(&index_mu_);
    cheapest_rows_ = 0;
  }
  if (maintenance_due_ != nullptr) maintenance_due_();
}

bool Shard::IsApproximate() const {
  const std::shared_ptr<const index::View> view = index_.Pin();
  return std::any_of(view->segments.begin(), view->segments.end(),
                     [](const index::SegmentRows& rows) {
                       return rows.segment->kind() != index::SegmentKind::kFlat;
                     });
}

}  // namespace vecino::engine
