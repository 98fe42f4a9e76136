#include "client/recall_conversions.h"

#include "client/conversions.h"

namespace vecino::internal {
namespace {

std::string SourceName(v1::RecallEstimate::Source source) {
  switch (source) {
    case v1::RecallEstimate::SOURCE_LIVE:
      return "live";
    case v1::RecallEstimate::SOURCE_STORED_DOCUMENTS:
      return "stored_documents";
    case v1::RecallEstimate::SOURCE_GIVEN:
      return "given";
    default:  // proto3 enums are open
      return "unknown";
  }
}

std::string ShortfallName(v1::SearchEffort::ShortfallReason reason) {
  switch (reason) {
    case v1::SearchEffort::SHORTFALL_REASON_UNSPECIFIED:
      return "";
    case v1::SearchEffort::SHORTFALL_REASON_NO_MORE_DOCUMENTS:
      return "no_more_documents";
    case v1::SearchEffort::SHORTFALL_REASON_PARAMETERS:
      return "parameters";
    case v1::SearchEffort::SHORTFALL_REASON_CANDIDATES:
      return "candidates";
    default:  // proto3 enums are open
      return "unknown";
  }
}

}  // namespace

RecallEstimate FromProto(const v1::RecallEstimate& message) {
  RecallEstimate estimate;
  estimate.recall = message.recall();
  estimate.lower = message.lower();
  estimate.upper = message.upper();
  estimate.samples = message.samples();
  estimate.enough = message.enough();
  estimate.source = SourceName(message.source());
  estimate.min_k = message.min_k();
  estimate.max_k = message.max_k();
  estimate.above_share = message.above_share();
  estimate.up_to_share = message.up_to_share();
  estimate.recall_target = message.recall_target();
  estimate.oldest_sample_time = FromProto(message.oldest_sample_time());
  estimate.newest_sample_time = FromProto(message.newest_sample_time());
  return estimate;
}

RecallStats FromProto(const v1::RecallStats& message) {
  RecallStats stats;
  if (message.has_live()) stats.live = FromProto(message.live());
  if (message.has_stored_documents()) {
    stats.stored_documents = FromProto(message.stored_documents());
  }
  for (const v1::RecallEstimate& kind : message.by_kind()) stats.by_kind.push_back(FromProto(kind));
  return stats;
}

SearchEffort FromProto(const v1::SearchEffort& message) {
  return {.effective_nprobe = message.effective_nprobe(),
          .effective_ef = message.effective_ef(),
          .rows_scanned = message.rows_scanned(),
          .rows_rescored = message.rows_rescored(),
          .expected_recall = message.expected_recall(),
          .exact = message.exact(),
          .shortfall_reason = ShortfallName(message.shortfall_reason())};
}

SearchExplanation FromProto(const v1::SearchExplanation& message) {
  SearchExplanation explanation;
  for (const v1::ShardPlan& shard : message.shards()) {
    explanation.shards.push_back({.shard = shard.shard(),
                                  .plan = shard.plan(),
                                  .nprobe = shard.nprobe(),
                                  .nlist = shard.nlist(),
                                  .ef = shard.ef(),
                                  .rows_scanned = shard.rows_scanned(),
                                  .rows_reranked = shard.rows_reranked(),
                                  .rows_rescored = shard.rows_rescored(),
                                  .passing_rows = shard.passing_rows(),
                                  .expected_recall = shard.expected_recall()});
  }
  explanation.selectivity = message.selectivity();
  explanation.recall_target = message.recall_target();
  for (const v1::StageTime& stage : message.stages()) {
    explanation.stages.push_back({.stage = stage.stage(), .time = FromProto(stage.duration())});
  }
  if (message.has_verified_recall()) explanation.verified_recall = message.verified_recall();
  return explanation;
}

RecallEvaluation FromProto(const v1::EvaluateRecallResponse& message) {
  RecallEvaluation evaluation;
  evaluation.recall = FromProto(message.recall());
  for (const v1::RecallEstimate& shard : message.shards()) {
    evaluation.shards.push_back(FromProto(shard));
  }
  evaluation.search_time = FromProto(message.search_time());
  evaluation.exact_time = FromProto(message.exact_time());
  return evaluation;
}

namespace {

TuningPoint FromProto(const v1::TuningPoint& message) {
  const auto nanoseconds = [](const google::protobuf::Duration& duration) {
    return std::chrono::seconds(duration.seconds()) + std::chrono::nanoseconds(duration.nanos());
  };
  return {.breadth = message.breadth(),
          .recall = message.recall(),
          .recall_error = message.recall_error(),
          .p50 = nanoseconds(message.p50()),
          .p99 = nanoseconds(message.p99()),
          .rows_scanned = message.rows_scanned(),
          .exact = message.exact()};
}

// Of EvaluateRecall or TuneIndex.
template <typename Options, typename Request>
Status QueriesToProto(const RecallQueries& queries, const Options& options, Request* message) {
  if (Status status = CheckUtf8(options.filter, "filter"); !status.ok()) return status;
  for (const std::vector<float>& vector : queries.vectors) {
    ToProto(vector, message->add_vectors());
  }
  for (size_t i = 0; i < queries.texts.size(); ++i) {
    Status status = CheckUtf8(queries.texts[i], "texts[" + std::to_string(i) + "]");
    if (!status.ok()) return status;
    message->add_texts(queries.texts[i]);
  }
  if (queries.samples != 0) message->set_samples(queries.samples);
  message->set_top_k(options.top_k);
  message->set_filter(options.filter);
  return Status();
}

}  // namespace

IndexTuning FromProto(const v1::TuneIndexResponse& message) {
  IndexTuning tuning;
  for (const v1::TuningPoint& point : message.points()) tuning.points.push_back(FromProto(point));
  if (message.has_recommended()) tuning.recommended = FromProto(message.recommended());
  tuning.recall_target = message.recall_target();
  tuning.queries = message.queries();
  tuning.live_queries = message.live_queries();
  tuning.share = message.share();
  tuning.shards_tuned = message.shards_tuned();
  tuning.shards_not_needed = message.shards_not_needed();
  return tuning;
}

Status ToProto(const TuningOptions& options, v1::TuneIndexRequest* message) {
  message->mutable_shards()->Assign(options.shards.begin(), options.shards.end());
  if (options.recall_target != 0) message->set_recall_target(options.recall_target);
  return QueriesToProto(options.queries, options, message);
}

Status ToProto(const RecallQueries& queries, const RecallOptions& options,
               v1::EvaluateRecallRequest* message) {
  if (Status status = QueriesToProto(queries, options, message); !status.ok()) return status;
  const bool knobs =
      options.exact || options.nprobe != 0 || options.ef_search != 0 || options.rerank != 0;
  if (options.recall_target != 0 && knobs) {
    return Status(Code::kInvalidArgument,
                  "give a recall target or exact, nprobe, ef_search and rerank, not both",
                  "recall_target");
  }
  if (options.recall_target != 0) message->set_recall_target(options.recall_target);
  if (knobs) {
    v1::SearchParameters* parameters = message->mutable_parameters();
    parameters->set_exact(options.exact);
    parameters->set_nprobe(options.nprobe);
    parameters->set_ef_search(options.ef_search);
    parameters->set_rerank(options.rerank);
  }
  return Status();
}

}  // namespace vecino::internal
