#include "server/engine/engine_metrics.h"

namespace vecino::engine {
namespace {

Histogram& SearchStage(Metrics* metrics, const char* stage) {
  return metrics->latency("vecino_search_stage_seconds", "Time of a search by stage.",
                          {{"stage", stage}});
}

Histogram& WriteStage(Metrics* metrics, const char* stage) {
  return metrics->latency("vecino_write_stage_seconds", "Time of a write call by stage.",
                          {{"stage", stage}});
}

Counter& Maintenance(Metrics* metrics, const char* kind) {
  return metrics->counter("vecino_maintenance_total", "Segments built by maintenance.",
                          {{"kind", kind}});
}

Histogram& MaintenanceTime(Metrics* metrics, const char* kind) {
  return metrics->latency("vecino_maintenance_seconds", "Time to build a segment.",
                          {{"kind", kind}});
}

}  // namespace

EngineMetrics::EngineMetrics(Metrics* metrics)
    : searches(metrics->counter("vecino_searches_total", "Searches that were answered.")),
      search_reruns(metrics->counter(
          "vecino_search_reruns_total",
          "Scans done again because a hit was replaced or deleted before it was fetched.")),
      search_embed(SearchStage(metrics, "embed")),
      search_scan(SearchStage(metrics, "scan")),
      search_fetch(SearchStage(metrics, "fetch")),
      upserts(metrics->counter("vecino_documents_upserted_total", "Documents written.")),
      deletes(metrics->counter("vecino_documents_deleted_total", "Documents deleted.")),
      commits(metrics->counter("vecino_commits_total", "Group commits, one sync to disk each.")),
      commit_failures(
          metrics->counter("vecino_commit_failures_total", "Group commits the store refused.")),
      write_embed(WriteStage(metrics, "embed")),
      write_commit(WriteStage(metrics, "commit")),
      drains(Maintenance(metrics, "drain")),
      merges(Maintenance(metrics, "merge")),
      retrains(Maintenance(metrics, "retrain")),
      graphs(Maintenance(metrics, "graph")),
      maintenance_failures(metrics->counter("vecino_maintenance_failures_total",
                                            "Steps of maintenance that failed and are retried.")),
      drain_time(MaintenanceTime(metrics, "drain")),
      merge_time(MaintenanceTime(metrics, "merge")),
      retrain_time(MaintenanceTime(metrics, "retrain")),
      graph_time(MaintenanceTime(metrics, "graph")) {}

}  // namespace vecino::engine
