#include "server/engine/shard.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/manifest.h"
#include "server/index/flat_segment.h"

namespace vecino::engine {
namespace {

// Tails of one drain. More than one when drains lag behind; a build copies them, so not all at
// once.
constexpr int kMaxTailsPerDrain = 8;

// Change records that may pile up, in tails, before they are trimmed although no tail is full.
constexpr uint64_t kMaxLogTails = 8;

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
      log_(std::move(log)),
      metrics_(metrics),
      index_(IndexOptions(options)),
      queue_(kMaxGroup, [this](WriteQueue::Batches batches) { Commit(batches); }) {}

absl::StatusOr<std::vector<index::Hit>> Shard::Search(
    const float* query, int k, absl::FunctionRef<absl::Status()> checkpoint) const {
  const std::shared_ptr<const index::View> view = index_.Pin();
  return index::Search(*view, options_.metric, query, k, checkpoint);
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
  return {.shard = options_.number,
          .live_documents = stats.live_rows,
          .last_sequence = applied_.load(),
          .tail_rows = stats.tail_rows,
          .segments = static_cast<int>(stats.segments.size()),
          .deleted_rows = stats.dead_rows,
          .tail_bytes = stats.tail_bytes,
          .segment_bytes = stats.segment_bytes};
}

int64_t Shard::LiveDocuments() const {
  absl::MutexLock lock(&index_mu_);
  return index_.Stats().live_rows;
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
}

bool Shard::LogIsLong() const {
  return applied_.load() - saved_through_.load() >
         kMaxLogTails * static_cast<uint64_t>(index_.options().tail_capacity);
}

bool Shard::HasWork() const {
  const index::ShardIndexStats stats = index_.Stats();
  return stats.frozen_tails > 0 || LogIsLong() ||
         PickMerge(stats.segments, options_.merge).has_value();
}

bool Shard::MaintenanceDue() const {
  absl::MutexLock lock(&index_mu_);
  return HasWork();
}

std::optional<index::FrozenRows> Shard::FreezeWork(bool* drain) {
  absl::MutexLock lock(&index_mu_);
  // Deletes fill the change log but no tail.
  if (LogIsLong()) index_.FreezeTail();
  *drain = true;
  if (auto rows = index_.FreezeForDrain(kMaxTailsPerDrain)) return rows;
  *drain = false;
  const auto merge = PickMerge(index_.Stats().segments, options_.merge);
  if (!merge.has_value()) return std::nullopt;
  return index_.FreezeForMerge(merge->first, merge->count);
}

absl::StatusOr<bool> Shard::Maintain() {
  const absl::Time start = absl::Now();
  bool drain = false;
  std::optional<index::FrozenRows> rows = FreezeWork(&drain);
  const bool built = rows.has_value();
  if (built) {
    if (absl::Status status = Rebuild(*std::move(rows)); !status.ok()) return status;
    (drain ? metrics_->drains : metrics_->merges).Add();
    (drain ? metrics_->drain_time : metrics_->merge_time)
        .Observe(absl::ToDoubleSeconds(absl::Now() - start));
  }
  if (absl::Status status = SaveManifest(); !status.ok()) return status;
  return built;
}

absl::Status Shard::Rebuild(index::FrozenRows rows) {
  index::FlatSegmentBuilder builder(options_.metric, options_.dimension);
  absl::Status status = builder.Reserve(rows.live());
  if (status.ok()) {
    status = rows.ForEachLive(
        [&](uint64_t label, const float* vector) { return builder.Add(label, vector); });
  }
  if (!status.ok()) return status;
  auto segment = builder.Build();
  if (!segment.ok()) return segment.status();
  // Keeps what is replaced until the lock is free: freeing much memory takes long.
  const std::shared_ptr<const index::View> replaced = index_.Pin();
  absl::MutexLock lock(&index_mu_);
  return index_.Publish(std::move(rows), *std::move(segment));
}

absl::Status Shard::SaveManifest() {
  Manifest manifest;
  {
    absl::MutexLock lock(&index_mu_);
    manifest.drained_through = index_.DrainedThrough(applied_.load());
    const index::ShardIndexStats stats = index_.Stats();
    for (const auto& segment : stats.segments) {
      manifest.rows += static_cast<uint64_t>(segment.rows - segment.dead);
    }
    // A tail's worth at a time: the sync to disk holds writers up.
    const auto tail = static_cast<uint64_t>(index_.options().tail_capacity);
    if (manifest.drained_through < saved_through_.load() + tail) return absl::OkStatus();
  }
  return queue_.Exclusive(
      [&]() -> absl::Status {
        absl::Status status = log_->PutManifest(EncodeManifest(manifest));
        if (!status.ok()) return status;
        saved_through_.store(manifest.drained_through);
        // Only now: until the manifest is durable, a start needs these records.
        return log_->TrimChanges(manifest.drained_through);
      },
      absl::InfiniteFuture());
}

}  // namespace vecino::engine
