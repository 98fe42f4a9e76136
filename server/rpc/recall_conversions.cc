#include "server/rpc/recall_conversions.h"

#include <utility>

#include "server/rpc/conversions.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using engine::InvalidField;

v1::RecallEstimate::Source WriteSource(engine::RecallSource source) {
  switch (source) {
    case engine::RecallSource::kLive:
      return v1::RecallEstimate::SOURCE_LIVE;
    case engine::RecallSource::kStoredDocuments:
      return v1::RecallEstimate::SOURCE_STORED_DOCUMENTS;
    case engine::RecallSource::kGiven:
      return v1::RecallEstimate::SOURCE_GIVEN;
  }
  return v1::RecallEstimate::SOURCE_UNSPECIFIED;
}

// Queries, k and filter, which requests that measure recall have in common.
template <class Request>
absl::Status ReadQueries(const Request& request, engine::RecallRequest* out) {
  for (int i = 0; i < request.vectors_size(); ++i) {
    auto vector = ReadVector(Concat("vectors[", i, "]"), request.vectors(i));
    if (!vector.ok()) return vector.status();
    out->vectors.push_back(*std::move(vector));
  }
  out->texts = {request.texts().begin(), request.texts().end()};
  if (request.has_samples()) {
    // The engine takes 0 for "not said".
    if (request.samples() == 0) {
      return InvalidField("samples",
                          Concat("is 0; it must be 1 to ", engine::RecallRequest::kMaxSamples));
    }
    out->samples = request.samples();
  }
  if (request.has_top_k()) out->top_k = request.top_k();
  out->filter = request.filter();
  return absl::OkStatus();
}

}  // namespace

void WriteRecall(const engine::RecallEstimate& estimate, v1::RecallEstimate* out) {
  out->set_recall(estimate.recall);
  out->set_lower(estimate.lower);
  out->set_upper(estimate.upper);
  out->set_samples(estimate.samples);
  out->set_enough(estimate.enough());
  out->set_source(WriteSource(estimate.source));
  out->set_min_k(estimate.min_k);
  out->set_max_k(estimate.max_k);
  out->set_above_share(estimate.above_share);
  out->set_up_to_share(estimate.up_to_share);
  out->set_recall_target(estimate.recall_target);
  if (estimate.samples == 0) return;
  WriteTime(estimate.oldest, out->mutable_oldest_sample_time());
  WriteTime(estimate.newest, out->mutable_newest_sample_time());
}

void WriteRecallStats(const engine::RecallStats& stats, v1::RecallStats* out) {
  if (stats.live.samples > 0) WriteRecall(stats.live, out->mutable_live());
  if (stats.stored_documents.samples > 0) {
    WriteRecall(stats.stored_documents, out->mutable_stored_documents());
  }
  for (const engine::RecallEstimate& estimate : stats.by_kind) {
    WriteRecall(estimate, out->add_by_kind());
  }
}

absl::StatusOr<engine::RecallRequest> ReadRecallRequest(const v1::EvaluateRecallRequest& request) {
  engine::RecallRequest out;
  if (absl::Status status = ReadQueries(request, &out); !status.ok()) return status;
  switch (request.effort_case()) {
    case v1::EvaluateRecallRequest::kRecallTarget:
      if (request.recall_target() == 0) {
        return InvalidField("recall_target", "is 0; it must be above 0, at most 1");
      }
      out.recall_target = request.recall_target();
      break;
    case v1::EvaluateRecallRequest::kParameters:
      out.exact = request.parameters().exact();
      out.nprobe = request.parameters().nprobe();
      out.ef_search = request.parameters().ef_search();
      out.rerank = request.parameters().rerank();
      break;
    case v1::EvaluateRecallRequest::EFFORT_NOT_SET:
      break;
  }
  return out;
}

void WriteEvaluation(const engine::RecallEvaluation& evaluation, v1::EvaluateRecallResponse* out) {
  WriteRecall(evaluation.recall, out->mutable_recall());
  for (const engine::RecallEstimate& shard : evaluation.shards) {
    WriteRecall(shard, out->add_shards());
  }
  WriteDuration(evaluation.search_time, out->mutable_search_time());
  WriteDuration(evaluation.exact_time, out->mutable_exact_time());
}

absl::StatusOr<engine::TuneRequest> ReadTuneRequest(const v1::TuneIndexRequest& request) {
  engine::TuneRequest out;
  if (absl::Status status = ReadQueries(request, &out.search); !status.ok()) return status;
  out.shards = {request.shards().begin(), request.shards().end()};
  if (request.has_recall_target()) {
    if (request.recall_target() == 0) {
      return InvalidField("recall_target", "is 0; it must be above 0, at most 1");
    }
    out.search.recall_target = request.recall_target();
  }
  return out;
}

void WriteTuning(const engine::TuningResult& tuning, v1::TuneIndexResponse* out) {
  for (size_t i = 0; i < tuning.points.size(); ++i) {
    const engine::TuningPoint& point = tuning.points[i];
    v1::TuningPoint* one = out->add_points();
    one->set_breadth(point.breadth);
    one->set_recall(point.recall);
    one->set_recall_error(point.error);
    WriteDuration(point.p50, one->mutable_p50());
    WriteDuration(point.p99, one->mutable_p99());
    one->set_rows_scanned(point.rows_scanned);
    one->set_exact(point.exact);
    if (static_cast<int>(i) == tuning.recommended) *out->mutable_recommended() = *one;
  }
  out->set_recall_target(tuning.target);
  out->set_queries(tuning.queries);
  out->set_live_queries(tuning.live_queries);
  out->set_share(tuning.share);
}

}  // namespace vecino::rpc
