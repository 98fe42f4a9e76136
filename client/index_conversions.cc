#include "client/index_conversions.h"

#include <vecino/v1/index_operation.pb.h>

#include "client/conversions.h"
#include "client/error_details.h"
#include "client/migration_conversions.h"
#include "client/recall_conversions.h"

namespace vecino::internal {
namespace {

struct Kind {
  std::string_view name;
  v1::IndexPolicy::Kind number;
};

constexpr Kind kKinds[] = {{"auto", v1::IndexPolicy::KIND_AUTO},
                           {"flat", v1::IndexPolicy::KIND_FLAT},
                           {"ivf-flat", v1::IndexPolicy::KIND_IVF_FLAT},
                           {"ivf-sq8", v1::IndexPolicy::KIND_IVF_SQ8},
                           {"ivf-pq", v1::IndexPolicy::KIND_IVF_PQ},
                           {"hnsw", v1::IndexPolicy::KIND_HNSW},
                           {"lsh", v1::IndexPolicy::KIND_LSH}};

SegmentMemory FromProto(const v1::SegmentMemory& message) {
  return {.codes = message.code_bytes(),
          .rounded = message.rounded_bytes(),
          .vectors = message.vector_bytes(),
          .labels = message.label_bytes(),
          .mapped = message.mapped_bytes()};
}

ShardStats FromProto(const v1::ShardStats& message) {
  ShardStats shard;
  shard.shard = message.shard();
  shard.live_documents = message.live_documents();
  shard.last_sequence_number = message.last_sequence_number();
  shard.tail_rows = message.tail_rows();
  shard.waiting_tails = message.waiting_tails();
  shard.index_lag = internal::FromProto(message.index_lag());
  shard.segments = message.segments();
  shard.deleted_rows = message.deleted_rows();
  shard.tail_bytes = message.tail_bytes();
  shard.field_bytes = message.field_bytes();
  shard.memory = FromProto(message.segment_memory());
  for (const v1::SegmentStats& segment : message.segment_stats()) {
    shard.segment_stats.push_back({.kind = segment.kind(),
                                   .rows = segment.rows(),
                                   .deleted_rows = segment.deleted_rows(),
                                   .generation = segment.generation()});
  }
  if (message.has_generation()) {
    const v1::GenerationStats& generation = message.generation();
    shard.generation = {.generation = generation.generation(),
                        .trained_rows = generation.trained_rows(),
                        .calibrated_rows = generation.calibrated_rows(),
                        .tune_time = internal::FromProto(generation.tune_time()),
                        .tuned_points = generation.tuned_points(),
                        .nlist = generation.nlist(),
                        .nprobe = generation.nprobe(),
                        .imbalance = generation.imbalance(),
                        .train_time = internal::FromProto(generation.train_time())};
  }
  shard.last_choice = message.last_choice();
  for (const v1::DriftSignal& signal : message.drift()) {
    shard.drift.push_back({.name = signal.name(),
                           .value = signal.value(),
                           .limit = signal.limit(),
                           .due = signal.due()});
  }
  shard.recall = internal::FromProto(message.recall());
  return shard;
}

}  // namespace

std::string IndexKinds() {
  std::string names;
  for (const Kind& kind : kKinds) {
    if (!names.empty()) names += ", ";
    names += kind.name;
  }
  return names;
}

bool IsIndexKind(std::string_view kind) {
  for (const Kind& known : kKinds) {
    if (kind == known.name) return true;
  }
  return kind.empty();
}

void IndexToProto(const Collection& collection, v1::IndexPolicy* message) {
  for (const Kind& kind : kKinds) {
    if (collection.index_kind == kind.name) message->set_kind(kind.number);
  }
  message->set_recall_target(collection.recall_target);
  const IndexParameters& from = collection.index_parameters;
  if (from == IndexParameters()) return;
  v1::IndexParameters* to = message->mutable_parameters();
  to->set_nlist(from.nlist);
  to->set_nprobe(from.nprobe);
  to->set_pq_m(from.pq_m);
  to->set_pq_bits(from.pq_bits);
  to->set_hnsw_m(from.hnsw_m);
  to->set_ef_construction(from.ef_construction);
  to->set_ef_search(from.ef_search);
  to->set_lsh_bits(from.lsh_bits);
  if (!from.graph) to->set_graph(false);
}

void IndexFromProto(const v1::IndexPolicy& message, Collection* collection) {
  for (const Kind& kind : kKinds) {
    if (message.kind() == kind.number) collection->index_kind = std::string(kind.name);
  }
  collection->recall_target = message.recall_target();
  const v1::IndexParameters& from = message.parameters();
  collection->index_parameters = {.nlist = from.nlist(),
                                  .nprobe = from.nprobe(),
                                  .pq_m = from.pq_m(),
                                  .pq_bits = from.pq_bits(),
                                  .hnsw_m = from.hnsw_m(),
                                  .ef_construction = from.ef_construction(),
                                  .ef_search = from.ef_search(),
                                  .lsh_bits = from.lsh_bits(),
                                  .graph = !from.has_graph() || from.graph()};
}

CollectionStats FromProto(const v1::CollectionStats& message) {
  CollectionStats stats;
  stats.live_documents = message.live_documents();
  stats.deleted_rows = message.deleted_rows();
  stats.tail_rows = message.tail_rows();
  stats.waiting_tails = message.waiting_tails();
  stats.index_lag = FromProto(message.index_lag());
  stats.tail_bytes = message.tail_bytes();
  stats.segment_bytes = message.segment_bytes();
  stats.field_bytes = message.field_bytes();
  stats.segments = message.segments();
  stats.memory = FromProto(message.segment_memory());
  for (const v1::ShardStats& shard : message.shards()) stats.shards.push_back(FromProto(shard));
  stats.recall = FromProto(message.recall());
  return stats;
}

namespace {

Operation::Type TypeFromProto(v1::IndexOperationMetadata::Type type) {
  switch (type) {
    case v1::IndexOperationMetadata::TYPE_RETRAIN:
      return Operation::Type::kRetrain;
    case v1::IndexOperationMetadata::TYPE_COMPACT:
      return Operation::Type::kCompact;
    case v1::IndexOperationMetadata::TYPE_PURGE:
      return Operation::Type::kPurge;
    case v1::IndexOperationMetadata::TYPE_PATCH:
      return Operation::Type::kPatch;
    case v1::IndexOperationMetadata::TYPE_MIGRATE:
      return Operation::Type::kMigrate;
    case v1::IndexOperationMetadata::TYPE_TUNE:
      return Operation::Type::kTune;
    default:
      return Operation::Type::kUnknown;
  }
}

std::string OutcomeName(v1::IndexOperationShard::Outcome outcome) {
  switch (outcome) {
    case v1::IndexOperationShard::OUTCOME_PUBLISHED:
      return "published";
    case v1::IndexOperationShard::OUTCOME_REJECTED:
      return "rejected";
    case v1::IndexOperationShard::OUTCOME_NOT_NEEDED:
      return "not needed";
    default:
      return "";
  }
}

}  // namespace

Operation FromProto(const google::longrunning::Operation& message) {
  Operation operation;
  if (!message.name().empty()) operation.id = LastPart(message.name());
  operation.done = message.done();
  if (message.has_error()) operation.status = FromRpc(message.error());
  v1::IndexOperationMetadata metadata;
  if (!message.metadata().UnpackTo(&metadata)) return operation;
  operation.collection = LastPart(metadata.collection());
  operation.type = TypeFromProto(metadata.type());
  operation.create_time = FromProto(metadata.create_time());
  operation.end_time = FromProto(metadata.end_time());
  operation.cancel_requested = metadata.cancel_requested();
  for (const v1::IndexOperationShard& shard : metadata.shards()) {
    operation.shards.push_back({.shard = shard.shard(),
                                .stage = shard.stage(),
                                .rows_done = shard.rows_done(),
                                .rows_total = shard.rows_total(),
                                .done = shard.done(),
                                .status = FromRpc(shard.status()),
                                .outcome = OutcomeName(shard.outcome()),
                                .reason = shard.reason(),
                                .recall_before = shard.recall_before(),
                                .recall_after = shard.recall_after(),
                                .rows_scanned_before = shard.rows_scanned_before(),
                                .rows_scanned_after = shard.rows_scanned_after()});
  }
  if (metadata.has_estimate()) {
    const v1::IndexOperationEstimate& estimate = metadata.estimate();
    operation.estimate = {.rows = estimate.rows(),
                          .deleted_rows = estimate.deleted_rows(),
                          .duration = FromProto(estimate.duration()),
                          .peak_bytes = estimate.peak_bytes(),
                          .index_bytes = estimate.index_bytes()};
  }
  v1::TuneIndexResponse tuned;
  if (message.has_response() && !metadata.has_estimate() && message.response().UnpackTo(&tuned)) {
    operation.tuning = FromProto(tuned);
  }
  if (metadata.has_migration()) operation.migration = FromProto(metadata.migration());
  return operation;
}

}  // namespace vecino::internal
