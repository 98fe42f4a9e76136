#include "server/engine/shard.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/drift.h"

namespace vecino::engine {
namespace {

constexpr size_t kMaxTailBytes = 64 << 20;

// Writes in one group commit.
constexpr size_t kMaxGroup = 4096;

index::ShardIndexOptions IndexOptions(const ShardOptions& options) {
  const size_t rows_in_bytes = kMaxTailBytes / (sizeof(float) * options.dimension);
  return {options.metric, options.dimension,
          static_cast<int>(std::min<size_t>(options.tail_capacity, rows_in_bytes))};
}

}  // namespace

Shard::Shard(const ShardOptions& options, std::unique_ptr<storage::ShardLog> log,
             EngineMetrics* metrics)
    : options_(options),
      spec_(options.index),
      log_(std::move(log)),
      metrics_(metrics),
      hold_(options.hold_changes ? 0 : kNoHold),
      recall_(options.recall_window),
      index_(IndexOptions(options)),
      files_(options.folder),
      queue_(kMaxGroup, [this](WriteQueue::Batches batches) { Commit(batches); }) {}

Shard::~Shard() {
  if (options_.budget != nullptr) options_.budget->Release(counted_bytes_);
}

void Shard::CountMemory() {
  if (options_.budget == nullptr) return;
  CountMore(index_.Stats().segment_memory.total() + fields_.bytes() - counted_bytes_);
}

void Shard::CountMore(int64_t bytes) {
  if (options_.budget == nullptr || bytes == 0) return;
  options_.budget->Add(bytes);
  counted_bytes_ += bytes;
}

absl::Status Shard::WaitApplied(uint64_t sequence, const CallContext& context,
                                const TokenWaits& waits) const {
  const std::stop_token stop = waits.stop();
  const std::stop_callback wake(stop, [this] { WakeWaiters(); });
  return WaitUntil(
      sequence, [&] { return IsApplied(sequence); },
      [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(applied_mu_) {
        return stop.stop_requested() ? TokenWaits::StoppedError() : closed_;
      },
      context);
}

absl::Status Shard::WaitForAppends(const CallContext& context) const {
  const uint64_t sequence = appending_.load(std::memory_order_acquire);
  return WaitUntil(
      sequence,
      [&] {
        // A refused append lowers appending_ again: then there is nothing left to wait for.
        return IsApplied(std::min(sequence, appending_.load(std::memory_order_acquire)));
      },
      [] { return absl::OkStatus(); }, context);
}

void Shard::WakeWaiters() const {
  absl::MutexLock lock(&applied_mu_);
  applied_changed_.SignalAll();
}

absl::Status Shard::WaitUntil(uint64_t sequence, absl::FunctionRef<bool()> reached,
                              absl::FunctionRef<absl::Status()> give_up,
                              const CallContext& context) const {
  if (reached()) return absl::OkStatus();
  const absl::Time deadline = std::min(context.deadline, absl::Now() + kMaxTokenWait);
  // Runs at once when the caller has gone already, so before the lock is taken.
  const std::stop_callback wake(context.stop, [this] { WakeWaiters(); });
  absl::MutexLock lock(&applied_mu_);
  while (!reached()) {
    if (context.stop.stop_requested()) {
      return absl::CancelledError("the caller went away while waiting for a write");
    }
    if (absl::Status status = give_up(); !status.ok()) return status;
    if (applied_changed_.WaitWithDeadline(&applied_mu_, deadline) && !reached()) {
      return absl::DeadlineExceededError(absl::StrCat(
          "write ", sequence, " of shard ", options_.number, " of collection `",
          options_.collection, "` was not reached in time; the shard is at ", applied_.load()));
    }
  }
  return absl::OkStatus();
}

ShardStats Shard::Stats() const {
  absl::MutexLock lock(&index_mu_);
  const index::ShardIndexStats stats = index_.Stats();
  ShardStats result;
  result.shard = options_.number;
  result.live_documents = LiveLocked();
  result.last_sequence = applied_.load();
  result.tail_rows = stats.tail_rows;
  result.waiting_tails = stats.frozen_tails;
  result.index_lag = absl::FromChrono(stats.lag);
  result.segments = static_cast<int>(stats.segments.size());
  result.deleted_rows = stats.dead_rows;
  result.tail_bytes = stats.tail_bytes;
  result.segment_bytes = stats.segment_memory.total();
  result.code_bytes = stats.segment_memory.codes;
  result.rounded_bytes = stats.segment_memory.rounded;
  result.vector_bytes = stats.segment_memory.vectors;
  result.label_bytes = stats.segment_memory.labels;
  result.mapped_bytes = stats.segment_memory.mapped;
  result.field_bytes = fields_.bytes();
  const MaintenanceState state = State();
  for (const DriftSignal& signal : MeasureDrift(state, options_.maintenance)) {
    result.drift.push_back({signal.name, signal.value, signal.limit, signal.due});
  }
  for (const MaintenanceState::Segment& segment : state.segments) {
    std::string kind(index::SegmentKindName(segment.kind));
    if (segment.graph) kind += "+GRAPH";
    result.segment_list.push_back({kind, segment.rows, segment.dead, segment.generation});
  }
  result.last_choice = last_choice_;
  result.recall = recall_.Stats(absl::Now());
  if (generation_ != nullptr) {
    result.generation = generation_->id();
    result.generation_rows = generation_->trained_rows();
    result.calibrated_rows = generation_->calibration().rows;
    result.tuned_at = absl::FromUnixMicros(generation_->calibration().tuned_at_us);
    result.tuned_points = generation_->calibration().tuned_points;
    result.nlist = generation_->nlist();
    result.trained_at = absl::FromUnixMicros(generation_->trained_at_us());
    result.imbalance = imbalance_;
    result.nprobe = generation_->NprobeFor(index_spec().recall_target, 10);
  }
  return result;
}

int64_t Shard::LiveDocuments() const {
  absl::MutexLock lock(&index_mu_);
  return LiveLocked();
}

int64_t Shard::WithoutVector() const {
  absl::MutexLock lock(&index_mu_);
  return fields_.live() - with_vector_;
}

int64_t Shard::LiveLocked() const { return fields_.live() - expiries_.CountDue(NowUs()); }

void Shard::OnWritten(std::function<void()> fn) {
  absl::MutexLock lock(&applied_mu_);
  written_ = std::move(fn);
}

void Shard::Close(absl::Status why) {
  {
    absl::MutexLock lock(&applied_mu_);
    closed_ = why;
    applied_changed_.SignalAll();
  }
  queue_.Close(std::move(why));
}

void Shard::Reopen() {
  {
    absl::MutexLock lock(&applied_mu_);
    closed_ = absl::OkStatus();
  }
  queue_.Reopen();
  if (maintenance_due_ != nullptr) maintenance_due_();  // what Close cut short
}

}  // namespace vecino::engine
