#include "server/rpc/index_conversions.h"

#include <algorithm>
#include <string>
#include <vector>

#include "server/rpc/conversions.h"
#include "server/rpc/migration_conversions.h"
#include "server/rpc/recall_conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/snapshot_conversions.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"
#include "vecino/v1/collection_service.pb.h"
#include "vecino/v1/document_service.pb.h"
#include "vecino/v1/index_operation.pb.h"

namespace vecino::rpc {
namespace {

using engine::IndexKind;
using engine::Operation;

absl::StatusOr<IndexKind> ReadKind(v1::IndexPolicy::Kind kind) {
  switch (kind) {
    case v1::IndexPolicy::KIND_UNSPECIFIED:
    case v1::IndexPolicy::KIND_AUTO:
      return IndexKind::kAuto;
    case v1::IndexPolicy::KIND_FLAT:
      return IndexKind::kFlat;
    case v1::IndexPolicy::KIND_IVF_FLAT:
      return IndexKind::kIvfFlat;
    case v1::IndexPolicy::KIND_IVF_SQ8:
      return IndexKind::kIvfSq8;
    case v1::IndexPolicy::KIND_IVF_PQ:
      return IndexKind::kIvfPq;
    case v1::IndexPolicy::KIND_HNSW:
      return IndexKind::kHnsw;
    case v1::IndexPolicy::KIND_LSH:
      return IndexKind::kLsh;
    default:  // proto3 enums are open: a newer client may send what this server does not know
      return engine::InvalidField("collection.index_policy.kind",
                                  Concat("is ", static_cast<int>(kind),
                                         "; this server knows KIND_AUTO, KIND_FLAT, KIND_IVF_FLAT, "
                                         "KIND_IVF_SQ8, KIND_IVF_PQ, KIND_HNSW and KIND_LSH"));
  }
}

v1::IndexPolicy::Kind WriteKind(IndexKind kind) {
  switch (kind) {
    case IndexKind::kAuto:
      return v1::IndexPolicy::KIND_AUTO;
    case IndexKind::kFlat:
      return v1::IndexPolicy::KIND_FLAT;
    case IndexKind::kIvfFlat:
      return v1::IndexPolicy::KIND_IVF_FLAT;
    case IndexKind::kIvfSq8:
      return v1::IndexPolicy::KIND_IVF_SQ8;
    case IndexKind::kIvfPq:
      return v1::IndexPolicy::KIND_IVF_PQ;
    case IndexKind::kHnsw:
      return v1::IndexPolicy::KIND_HNSW;
    case IndexKind::kLsh:
      return v1::IndexPolicy::KIND_LSH;
  }
  return v1::IndexPolicy::KIND_UNSPECIFIED;
}

void WriteMemory(const engine::ShardStats& shard, v1::SegmentMemory* out) {
  out->set_code_bytes(out->code_bytes() + shard.code_bytes);
  out->set_rounded_bytes(out->rounded_bytes() + shard.rounded_bytes);
  out->set_vector_bytes(out->vector_bytes() + shard.vector_bytes);
  out->set_label_bytes(out->label_bytes() + shard.label_bytes);
  out->set_mapped_bytes(out->mapped_bytes() + shard.mapped_bytes);
}

void WriteShard(const engine::ShardStats& shard, v1::ShardStats* out) {
  out->set_shard(shard.shard);
  out->set_live_documents(shard.live_documents);
  out->set_last_sequence_number(static_cast<int64_t>(shard.last_sequence));
  out->set_tail_rows(shard.tail_rows);
  out->set_waiting_tails(shard.waiting_tails);
  WriteDuration(shard.index_lag, out->mutable_index_lag());
  out->set_segments(shard.segments);
  out->set_deleted_rows(shard.deleted_rows);
  out->set_tail_bytes(shard.tail_bytes);
  out->set_field_bytes(shard.field_bytes);
  WriteMemory(shard, out->mutable_segment_memory());
  for (const auto& segment : shard.segment_list) {
    v1::SegmentStats* one = out->add_segment_stats();
    one->set_kind(segment.kind);
    one->set_rows(segment.rows);
    one->set_deleted_rows(segment.dead);
    one->set_generation(static_cast<int64_t>(segment.generation));
  }
  if (shard.generation != 0) {
    v1::GenerationStats* generation = out->mutable_generation();
    generation->set_generation(static_cast<int64_t>(shard.generation));
    generation->set_trained_rows(shard.generation_rows);
    generation->set_calibrated_rows(shard.calibrated_rows);
    generation->set_nlist(shard.nlist);
    generation->set_nprobe(shard.nprobe);
    generation->set_imbalance(shard.imbalance);
    WriteTime(shard.trained_at, generation->mutable_train_time());
    if (shard.tuned_points > 0) WriteTime(shard.tuned_at, generation->mutable_tune_time());
    generation->set_tuned_points(shard.tuned_points);
  }
  out->set_last_choice(shard.last_choice);
  for (const auto& signal : shard.drift) {
    v1::DriftSignal* one = out->add_drift();
    one->set_name(signal.name);
    one->set_value(signal.value);
    one->set_limit(signal.limit);
    one->set_due(signal.due);
  }
  WriteRecallStats(shard.recall, out->mutable_recall());
}

v1::IndexOperationShard::Outcome WriteOutcome(Operation::Outcome::Kind kind) {
  switch (kind) {
    case Operation::Outcome::Kind::kNone:
      break;
    case Operation::Outcome::Kind::kPublished:
      return v1::IndexOperationShard::OUTCOME_PUBLISHED;
    case Operation::Outcome::Kind::kRejected:
      return v1::IndexOperationShard::OUTCOME_REJECTED;
    case Operation::Outcome::Kind::kNotNeeded:
      return v1::IndexOperationShard::OUTCOME_NOT_NEEDED;
  }
  return v1::IndexOperationShard::OUTCOME_UNSPECIFIED;
}

v1::IndexOperationMetadata::Type WriteType(Operation::Type type) {
  switch (type) {
    case Operation::Type::kRetrain:
      return v1::IndexOperationMetadata::TYPE_RETRAIN;
    case Operation::Type::kCompact:
      return v1::IndexOperationMetadata::TYPE_COMPACT;
    case Operation::Type::kPurge:
      return v1::IndexOperationMetadata::TYPE_PURGE;
    case Operation::Type::kPatch:
      return v1::IndexOperationMetadata::TYPE_PATCH;
    case Operation::Type::kMigrate:
      return v1::IndexOperationMetadata::TYPE_MIGRATE;
    case Operation::Type::kTune:
      return v1::IndexOperationMetadata::TYPE_TUNE;
    case Operation::Type::kSnapshot:  // these have metadata of their own
    case Operation::Type::kRestore:
      break;
  }
  return v1::IndexOperationMetadata::TYPE_UNSPECIFIED;
}

// documents: that a purge or a patch dealt with. migration, tuning: null where it is not known.
void WriteResponse(Operation::Type type, int64_t documents,
                   const std::vector<Operation::Part>& parts,
                   const engine::MigrationInfo* migration, const engine::TuningResult* tuning,
                   google::protobuf::Any* out) {
  using Kind = Operation::Outcome::Kind;
  const auto count = [&](Kind kind) {
    return static_cast<int>(std::count_if(
        parts.begin(), parts.end(), [&](const auto& part) { return part.outcome.kind == kind; }));
  };
  switch (type) {
    case Operation::Type::kRetrain: {
      v1::RetrainIndexResponse response;
      response.set_shards_published(count(Kind::kPublished));
      response.set_shards_rejected(count(Kind::kRejected));
      response.set_shards_not_needed(count(Kind::kNotNeeded));
      out->PackFrom(response);
      return;
    }
    case Operation::Type::kCompact:
      out->PackFrom(v1::CompactIndexResponse());
      return;
    case Operation::Type::kPurge: {
      v1::PurgeDocumentsResponse response;
      response.set_purge_count(documents);
      out->PackFrom(response);
      return;
    }
    case Operation::Type::kPatch: {
      v1::PatchDocumentsResponse response;
      response.set_patch_count(documents);
      out->PackFrom(response);
      return;
    }
    case Operation::Type::kMigrate: {
      v1::MigrateEmbeddingsResponse response;
      if (migration != nullptr && migration->overlap.has_value()) {
        WriteOverlap(*migration->overlap, response.mutable_overlap());
      }
      out->PackFrom(response);
      return;
    }
    case Operation::Type::kTune: {
      v1::TuneIndexResponse response;
      if (tuning != nullptr) WriteTuning(*tuning, &response);
      response.set_shards_tuned(count(Kind::kPublished));
      response.set_shards_not_needed(count(Kind::kNotNeeded));
      out->PackFrom(response);
      return;
    }
    case Operation::Type::kSnapshot:
    case Operation::Type::kRestore:
      return;
  }
}

}  // namespace

absl::StatusOr<engine::IndexSpec> ReadIndexPolicy(const v1::IndexPolicy& policy) {
  engine::IndexSpec spec;
  auto kind = ReadKind(policy.kind());
  if (!kind.ok()) return kind.status();
  spec.kind = *kind;
  if (policy.recall_target() != 0) spec.recall_target = policy.recall_target();
  const v1::IndexParameters& parameters = policy.parameters();
  spec.nlist = parameters.nlist();
  spec.nprobe = parameters.nprobe();
  spec.pq_m = parameters.pq_m();
  spec.pq_bits = parameters.pq_bits();
  spec.hnsw_m = parameters.hnsw_m();
  spec.ef_construction = parameters.ef_construction();
  spec.ef_search = parameters.ef_search();
  spec.lsh_bits = parameters.lsh_bits();
  if (parameters.has_graph()) spec.graph = parameters.graph();
  return spec;
}

void WriteIndexPolicy(const engine::IndexSpec& spec, v1::IndexPolicy* out) {
  out->set_kind(WriteKind(spec.kind));
  out->set_recall_target(spec.recall_target);
  v1::IndexParameters* parameters = out->mutable_parameters();
  parameters->set_nlist(spec.nlist);
  parameters->set_nprobe(spec.nprobe);
  parameters->set_pq_m(spec.pq_m);
  parameters->set_pq_bits(spec.pq_bits);
  parameters->set_hnsw_m(spec.hnsw_m);
  parameters->set_ef_construction(spec.ef_construction);
  parameters->set_ef_search(spec.ef_search);
  parameters->set_lsh_bits(spec.lsh_bits);
  if (spec.kind == IndexKind::kAuto) parameters->set_graph(spec.graph);
}

void WriteStats(std::string_view collection, const engine::CollectionStats& stats,
                v1::CollectionStats* out) {
  out->set_name(CollectionName(collection));
  WriteRecallStats(stats.recall, out->mutable_recall());
  absl::Duration lag;
  for (const engine::ShardStats& shard : stats.shards) {
    lag = std::max(lag, shard.index_lag);
    out->set_waiting_tails(out->waiting_tails() + shard.waiting_tails);
    out->set_live_documents(out->live_documents() + shard.live_documents);
    out->set_deleted_rows(out->deleted_rows() + shard.deleted_rows);
    out->set_tail_rows(out->tail_rows() + shard.tail_rows);
    out->set_segments(out->segments() + shard.segments);
    out->set_tail_bytes(out->tail_bytes() + shard.tail_bytes);
    out->set_segment_bytes(out->segment_bytes() + shard.segment_bytes);
    out->set_field_bytes(out->field_bytes() + shard.field_bytes);
    WriteMemory(shard, out->mutable_segment_memory());
    WriteShard(shard, out->add_shards());
  }
  WriteDuration(lag, out->mutable_index_lag());
}

void WriteOperation(const Operation::Info& info, google::longrunning::Operation* out) {
  if (info.type == Operation::Type::kSnapshot || info.type == Operation::Type::kRestore) {
    WriteSnapshotOperation(info, out);
    return;
  }
  out->set_name(OperationNameOf(info.collection, info.id));
  out->set_done(info.done);
  v1::IndexOperationMetadata metadata;
  metadata.set_type(WriteType(info.type));
  metadata.set_collection(CollectionName(info.collection));
  WriteTime(info.create_time, metadata.mutable_create_time());
  if (info.done) WriteTime(info.end_time, metadata.mutable_end_time());
  metadata.set_cancel_requested(info.cancel_requested);
  for (const Operation::Part& part : info.parts) {
    v1::IndexOperationShard* shard = metadata.add_shards();
    shard->set_shard(part.shard);
    shard->set_stage(part.stage);
    shard->set_rows_done(part.rows_done);
    shard->set_rows_total(part.rows_total);
    shard->set_done(part.done);
    shard->set_recall_before(part.outcome.recall_before);
    shard->set_recall_after(part.outcome.recall_after);
    shard->set_rows_scanned_before(part.outcome.rows_before);
    shard->set_rows_scanned_after(part.outcome.rows_after);
    shard->set_outcome(WriteOutcome(part.outcome.kind));
    shard->set_reason(part.outcome.reason);
    if (!part.done) continue;
    metadata.set_shards_done(metadata.shards_done() + 1);
    ToRpcStatus(part.status, shard->mutable_status());
  }
  if (info.migration != nullptr) {
    WriteMigration(info.collection, *info.migration, metadata.mutable_migration());
  }
  out->mutable_metadata()->PackFrom(metadata);
  if (!info.done) return;
  if (info.status.ok()) {
    int64_t rows = 0;
    for (const Operation::Part& part : info.parts) rows += part.rows_done;
    WriteResponse(info.type, rows, info.parts, info.migration.get(), info.tuning.get(),
                  out->mutable_response());
  } else {
    ToRpcStatus(info.status, out->mutable_error());
  }
}

void WriteEstimate(std::string_view collection, Operation::Type type,
                   const engine::OperationEstimate& estimate, google::longrunning::Operation* out) {
  out->set_done(true);
  v1::IndexOperationMetadata metadata;
  metadata.set_type(WriteType(type));
  metadata.set_collection(CollectionName(collection));
  v1::IndexOperationEstimate* one = metadata.mutable_estimate();
  one->set_rows(estimate.rows);
  one->set_deleted_rows(estimate.deleted_rows);
  WriteDuration(estimate.duration, one->mutable_duration());
  one->set_peak_bytes(estimate.peak_bytes);
  one->set_index_bytes(estimate.index_bytes);
  out->mutable_metadata()->PackFrom(metadata);
  WriteResponse(type, 0, {}, nullptr, nullptr, out->mutable_response());
}

}  // namespace vecino::rpc
