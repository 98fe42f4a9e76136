// Recall between messages and plain values.
#pragma once

#include <vecino/v1/collection_service.pb.h>
#include <vecino/v1/recall.pb.h>

#include "client/vecino/types.h"

namespace vecino::internal {

RecallEstimate FromProto(const v1::RecallEstimate& message);
RecallStats FromProto(const v1::RecallStats& message);
SearchEffort FromProto(const v1::SearchEffort& message);
SearchExplanation FromProto(const v1::SearchExplanation& message);
RecallEvaluation FromProto(const v1::EvaluateRecallResponse& message);
// All but `name`. INVALID_ARGUMENT when a string is not UTF-8, or effort is said in two ways.
Status ToProto(const RecallQueries& queries, const RecallOptions& options,
               v1::EvaluateRecallRequest* message);

IndexTuning FromProto(const v1::TuneIndexResponse& message);
// All but `name` and `validate_only`. INVALID_ARGUMENT when a string is not UTF-8.
Status ToProto(const TuningOptions& options, v1::TuneIndexRequest* message);

}  // namespace vecino::internal
