#include "server/rpc/effort_conversions.h"

#include "server/rpc/conversions.h"

namespace vecino::rpc {
namespace {

v1::SearchEffort::ShortfallReason WriteShortfall(engine::Shortfall shortfall) {
  switch (shortfall) {
    case engine::Shortfall::kNone:
      return v1::SearchEffort::SHORTFALL_REASON_UNSPECIFIED;
    case engine::Shortfall::kNoMoreDocuments:
      return v1::SearchEffort::SHORTFALL_REASON_NO_MORE_DOCUMENTS;
    case engine::Shortfall::kParameters:
      return v1::SearchEffort::SHORTFALL_REASON_PARAMETERS;
    case engine::Shortfall::kCandidates:
      return v1::SearchEffort::SHORTFALL_REASON_CANDIDATES;
  }
  return v1::SearchEffort::SHORTFALL_REASON_UNSPECIFIED;
}

}  // namespace

void WriteEffort(const engine::SearchEffort& effort, v1::SearchEffort* out) {
  out->set_effective_nprobe(effort.nprobe);
  out->set_effective_ef(effort.ef);
  out->set_rows_scanned(effort.rows_scanned);
  out->set_rows_rescored(effort.rows_rescored);
  out->set_expected_recall(effort.expected_recall);
  out->set_exact(effort.exact);
  out->set_shortfall_reason(WriteShortfall(effort.shortfall));
}

void WriteExplanation(const engine::SearchExplanation& explanation, v1::SearchExplanation* out) {
  for (const engine::ShardPlan& plan : explanation.shards) {
    v1::ShardPlan* shard = out->add_shards();
    shard->set_shard(plan.shard);
    shard->set_plan(plan.plan);
    shard->set_nprobe(plan.nprobe);
    shard->set_nlist(plan.nlist);
    shard->set_ef(plan.ef);
    shard->set_rows_scanned(plan.rows_scanned);
    shard->set_rows_reranked(plan.rows_reranked);
    shard->set_rows_rescored(plan.rows_rescored);
    shard->set_passing_rows(plan.passing_rows);
    shard->set_expected_recall(plan.expected_recall);
  }
  out->set_selectivity(explanation.selectivity);
  out->set_recall_target(explanation.recall_target);
  for (const engine::SearchExplanation::Stage& stage : explanation.stages) {
    v1::StageTime* time = out->add_stages();
    time->set_stage(stage.name);
    WriteDuration(stage.time, time->mutable_duration());
  }
  if (explanation.verified_recall.has_value()) {
    out->set_verified_recall(*explanation.verified_recall);
  }
}

}  // namespace vecino::rpc
