// Recall, as it was measured, between the contract and the engine.
#pragma once

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "vecino/v1/collection_service.pb.h"
#include "vecino/v1/recall.pb.h"

namespace vecino::rpc {

void WriteRecall(const engine::RecallEstimate& estimate, v1::RecallEstimate* out);
// Leaves out estimates without samples.
void WriteRecallStats(const engine::RecallStats& stats, v1::RecallStats* out);

// All but `name`. INVALID_ARGUMENT naming the field; the engine checks ranges.
absl::StatusOr<engine::RecallRequest> ReadRecallRequest(const v1::EvaluateRecallRequest& request);
void WriteEvaluation(const engine::RecallEvaluation& evaluation, v1::EvaluateRecallResponse* out);

// All but `name` and `validate_only`. As ReadRecallRequest.
absl::StatusOr<engine::TuneRequest> ReadTuneRequest(const v1::TuneIndexRequest& request);
// The curve, and what was asked.
void WriteTuning(const engine::TuningResult& tuning, v1::TuneIndexResponse* out);

}  // namespace vecino::rpc
