// How a shard comes back after a start.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/manifest.h"
#include "server/engine/shard.h"
#include "server/index/flat_segment.h"

namespace vecino::engine {

absl::StatusOr<std::shared_ptr<Shard>> Shard::Load(const ShardOptions& options,
                                                   std::unique_ptr<storage::ShardLog> log,
                                                   EngineMetrics* metrics) {
  std::shared_ptr<Shard> shard(new Shard(options, std::move(log), metrics));
  if (absl::Status status = shard->LoadIndex(); !status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat("loading shard ", options.number, " of collection `",
                                     options.collection, "`: ", status.message()));
  }
  return shard;
}

absl::Status Shard::LoadIndex() {
  absl::MutexLock lock(&index_mu_);
  const uint64_t last = log_->LastSequence();
  Manifest manifest;
  absl::StatusOr<std::string> bytes = log_->GetManifest();
  if (bytes.ok() && !bytes->empty()) {
    absl::StatusOr<Manifest> decoded = DecodeManifest(*bytes);
    if (decoded.ok()) {
      manifest = *decoded;
    } else {
      bytes = decoded.status();
    }
  }
  if (bytes.ok() && manifest.drained_through > last) {
    bytes = absl::DataLossError(absl::StrCat(
        "the manifest speaks of write ", manifest.drained_through, ", but the last one is ", last));
  }
  if (!bytes.ok()) {
    // Every split between stored vectors and change log gives the same rows. This one needs no
    // change record, of which some may have been trimmed.
    spdlog::warn("shard {} of collection {}: {}; the index is built from stored vectors only",
                 options_.number, options_.collection, bytes.status().ToString());
    manifest = {.drained_through = last, .rows = 0};
  }

  index::FlatSegmentBuilder builder(options_.metric, options_.dimension);
  // A hint: when it is wrong, the rows are moved while the segment grows.
  builder.Reserve(static_cast<int64_t>(std::min(manifest.rows, manifest.drained_through)))
      .IgnoreError();
  absl::Status status = log_->ScanVectors(0, manifest.drained_through,
                                          [&](uint64_t sequence, std::span<const float> vector) {
                                            return builder.Add(sequence, vector.data());
                                          });
  if (!status.ok()) return status;
  auto segment = builder.Build();
  if (!segment.ok()) return segment.status();
  if (*segment != nullptr) index_.AddSegment(*std::move(segment));

  applied_.store(manifest.drained_through);
  saved_through_.store(manifest.drained_through);
  status = log_->ReplayChanges(manifest.drained_through,
                               [&](const storage::Change& change, std::span<const float> vector)
                                   ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_) {
                                     Apply(change, vector);
                                     return absl::OkStatus();
                                   });
  if (!status.ok()) return status;
  if (applied_.load() != last) {
    return absl::DataLossError(
        absl::StrCat("the change log ends at ", applied_.load(), ", the last write is ", last));
  }
  appending_.store(last);
  return absl::OkStatus();
}

}  // namespace vecino::engine
