#include "client/cli/operation_text.h"

#include <algorithm>
#include <cstdio>

#include "client/cli/recall_text.h"

namespace vecino::cli {

std::string_view OperationTypeName(Operation::Type type) {
  switch (type) {
    case Operation::Type::kRetrain:
      return "retrain";
    case Operation::Type::kCompact:
      return "compact";
    case Operation::Type::kPurge:
      return "purge";
    case Operation::Type::kPatch:
      return "patch";
    case Operation::Type::kMigrate:
      return "migrate";
    case Operation::Type::kTune:
      return "tune";
    case Operation::Type::kUnknown:
      break;
  }
  return "unknown";
}

std::string_view OperationState(const Operation& operation) {
  if (!operation.done) return operation.cancel_requested ? "cancelling" : "running";
  if (operation.status.ok()) return "done";
  return operation.status.code() == Code::kCancelled ? "cancelled" : "failed";
}

std::string OperationProgress(const Operation& operation) {
  size_t done = 0;
  std::string stages;
  for (const OperationShard& shard : operation.shards) {
    if (shard.done) {
      ++done;
      continue;
    }
    stages += ", " + std::to_string(shard.shard) + " " + shard.stage;
    if (shard.recall_after > 0) stages += " (" + OutcomeFigures(shard) + ")";
    if (shard.rows_total <= 0) continue;
    if (shard.stage == "catching up") stages += " " + WithCommas(shard.rows_total);
    const int64_t percent = std::clamp<int64_t>(shard.rows_done * 100 / shard.rows_total, 0, 100);
    stages += " " + std::to_string(percent) + "%";
  }
  return std::to_string(done) + " of " + std::to_string(operation.shards.size()) + " shards" +
         stages;
}

std::string OutcomeFigures(const OperationShard& shard) {
  if (shard.recall_after <= 0) return "";
  char recall[64];
  std::snprintf(recall, sizeof recall, "recall old %.3f new %.3f", shard.recall_before,
                shard.recall_after);
  std::string text = recall;
  if (shard.rows_scanned_before > 0 && shard.rows_scanned_after > 0) {
    text += ", rows compared old " + WithCommas(shard.rows_scanned_before) + " new " +
            WithCommas(shard.rows_scanned_after);
  }
  return text;
}

Json OperationJson(const Operation& operation) {
  Json json{{"id", operation.id},
            {"collection", operation.collection},
            {"type", OperationTypeName(operation.type)},
            {"state", OperationState(operation)},
            {"done", operation.done},
            {"create_time", Rfc3339(operation.create_time)},
            {"end_time", Rfc3339(operation.end_time)},
            {"shards", Json::array()}};
  if (!operation.status.ok()) json["error"] = operation.status.ToString();
  for (const OperationShard& shard : operation.shards) {
    Json one{{"shard", shard.shard},
             {"stage", shard.stage},
             {"rows_done", shard.rows_done},
             {"rows_total", shard.rows_total},
             {"done", shard.done}};
    if (!shard.status.ok()) one["error"] = shard.status.ToString();
    if (!shard.outcome.empty()) one["outcome"] = shard.outcome;
    if (!shard.reason.empty()) one["reason"] = shard.reason;
    if (shard.recall_after > 0) {
      one["recall_before"] = shard.recall_before;
      one["recall_after"] = shard.recall_after;
      one["rows_scanned_before"] = shard.rows_scanned_before;
      one["rows_scanned_after"] = shard.rows_scanned_after;
    }
    json["shards"].push_back(std::move(one));
  }
  if (operation.estimate) {
    json["estimate"] = {
        {"rows", operation.estimate->rows},
        {"deleted_rows", operation.estimate->deleted_rows},
        {"seconds", static_cast<double>(operation.estimate->duration.count()) / 1e6},
        {"peak_bytes", operation.estimate->peak_bytes},
        {"index_bytes", operation.estimate->index_bytes}};
  }
  if (operation.tuning) json["tuning"] = TuningJson(*operation.tuning);
  if (operation.migration) json["migration"] = MigrationJson(*operation.migration);
  return json;
}

}  // namespace vecino::cli
