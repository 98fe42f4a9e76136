#include "server/engine/engine_metrics.h"

#include <functional>
#include <memory>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/engine/drift.h"
#include "server/engine/filter_cache.h"
#include "server/engine/migrations.h"
#include "server/engine/registry.h"
#include "server/engine/slot_maps.h"
#include "server/index/segment_file.h"

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

Counter& MaintenanceSteps(Metrics* metrics, const char* kind) {
  return metrics->counter("vecino_maintenance_total", "Segments built by maintenance.",
                          {{"kind", kind}});
}

Histogram& MaintenanceTime(Metrics* metrics, const char* kind) {
  return metrics->latency("vecino_maintenance_seconds", "Time to build a segment.",
                          {{"kind", kind}});
}

// The sums over all collections, not older than a fifth of a second. Thread safe.
class RecentTotals {
 public:
  explicit RecentTotals(std::weak_ptr<const Registry> registry) : registry_(std::move(registry)) {}

  Registry::Totals Get() {
    absl::MutexLock lock(&mu_);
    const std::shared_ptr<const Registry> alive = registry_.lock();
    if (alive == nullptr) return {};
    if (absl::Now() - taken_ > absl::Milliseconds(200)) {
      totals_ = alive->Sum();
      taken_ = absl::Now();
    }
    return totals_;
  }

 private:
  const std::weak_ptr<const Registry> registry_;
  absl::Mutex mu_;
  Registry::Totals totals_ ABSL_GUARDED_BY(mu_);
  absl::Time taken_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

}  // namespace

EngineMetrics::EngineMetrics(Metrics* metrics)
    : searches(metrics->counter("vecino_searches_total", "Searches that were answered.")),
      search_reruns(metrics->counter(
          "vecino_search_reruns_total",
          "Scans done again because a hit was replaced or deleted before it was fetched.")),
      filter_rescans(metrics->counter(
          "vecino_search_filter_rescans_total",
          "Searches of a shard with a filter that were done again over all rows that pass, because "
          "too few of them were found.")),
      search_embed(SearchStage(metrics, "embed")),
      search_scan(SearchStage(metrics, "scan")),
      search_fetch(SearchStage(metrics, "fetch")),
      search_rerank(SearchStage(metrics, "rerank")),
      upserts(metrics->counter("vecino_documents_upserted_total", "Documents written.")),
      deletes(metrics->counter("vecino_documents_deleted_total", "Documents deleted.")),
      expired(metrics->counter("vecino_documents_expired_total",
                               "Documents deleted because they had expired.")),
      commits(metrics->counter("vecino_commits_total", "Group commits, one sync to disk each.")),
      commit_failures(
          metrics->counter("vecino_commit_failures_total", "Group commits the store refused.")),
      write_embed(WriteStage(metrics, "embed")),
      write_commit(WriteStage(metrics, "commit")),
      drains(MaintenanceSteps(metrics, "drain")),
      merges(MaintenanceSteps(metrics, "merge")),
      retrains(MaintenanceSteps(metrics, "retrain")),
      retrains_rejected(
          metrics->counter("vecino_retrains_rejected_total",
                           "Retrains whose build was worse than the old index, and was dropped.")),
      calibrations(MaintenanceSteps(metrics, "calibrate")),
      graphs(MaintenanceSteps(metrics, "graph")),
      maintenance_failures(metrics->counter("vecino_maintenance_failures_total",
                                            "Steps of maintenance that failed and are retried.")),
      drain_time(MaintenanceTime(metrics, "drain")),
      merge_time(MaintenanceTime(metrics, "merge")),
      retrain_time(MaintenanceTime(metrics, "retrain")),
      calibrate_time(MaintenanceTime(metrics, "calibrate")),
      graph_time(MaintenanceTime(metrics, "graph")),
      publish_stall(metrics->latency(
          "vecino_publish_stall_seconds",
          "Time that writers of a shard wait while a segment is put in place.", {})) {}

void RegisterIndexGauges(std::shared_ptr<const Registry> registry, Metrics* metrics) {
  const auto gauge = [&](const char* name, const char* help,
                         std::function<int64_t(const Registry::Totals&)> value) {
    metrics->gauge(name, help, {},
                   [weak = std::weak_ptr<const Registry>(registry), value = std::move(value)] {
                     const std::shared_ptr<const Registry> alive = weak.lock();
                     return alive == nullptr ? 0.0 : static_cast<double>(value(alive->Sum()));
                   });
  };
  using Totals = Registry::Totals;
  gauge("vecino_collections", "Collections.", [](const Totals& t) { return t.collections; });
  gauge("vecino_documents", "Documents in all collections.",
        [](const Totals& t) { return t.sums.live_documents; });
  gauge("vecino_tail_rows", "Rows not yet in a segment, dead ones included.",
        [](const Totals& t) { return t.sums.tail_rows; });
  gauge("vecino_segments", "Segments.", [](const Totals& t) { return t.sums.segments; });
  gauge("vecino_deleted_rows", "Dead rows in tails and segments.",
        [](const Totals& t) { return t.sums.deleted_rows; });
  gauge("vecino_index_bytes", "Memory of tails and segments.",
        [](const Totals& t) { return t.sums.tail_bytes + t.sums.segment_bytes; });
  gauge("vecino_field_bytes", "Memory of the indexes of fields: metadata and words.",
        [](const Totals& t) { return t.sums.field_bytes; });
  // A scrape reads thirteen of these: they share one look at the shards.
  const auto totals = std::make_shared<RecentTotals>(registry);
  metrics->gauge("vecino_index_lag_seconds",
                 "How long the oldest full tail of any shard has waited to be drained into a "
                 "segment; 0: none waits.",
                 {}, [totals] { return absl::ToDoubleSeconds(totals->Get().sums.index_lag); });
  const auto names = MeasureDrift({}, {});
  for (size_t i = 0; i < names.size(); ++i) {
    const MetricLabels labels = {{"signal", names[i].name}};
    const auto drift = [&](const char* name, const char* help,
                           std::function<double(const Totals&)> value) {
      metrics->gauge(name, help, labels,
                     [totals, value = std::move(value)] { return value(totals->Get()); });
    };
    drift("vecino_drift",
          "The worst of any shard's signs of drift (docs/recall.md); 0: none known.",
          [i](const Totals& t) { return t.drift[i].worst; });
    drift("vecino_drift_due_shards", "Shards whose sign of drift is beyond its limit.",
          [i](const Totals& t) { return static_cast<double>(t.drift[i].due); });
  }
  metrics->gauge("vecino_index_locked_bytes", "Index files that are kept in memory.", {},
                 [] { return static_cast<double>(index::SegmentFile::BytesKept()); });
}

void RegisterFilterGauges(const std::shared_ptr<const SlotMaps>& maps,
                          const std::shared_ptr<const FilterCache>& filters, Metrics* metrics) {
  const auto bytes = [](const auto& of) {
    return [weak = std::weak_ptr(of)] {
      const auto alive = weak.lock();
      return alive == nullptr ? 0.0 : static_cast<double>(alive->bytes());
    };
  };
  metrics->gauge("vecino_filter_map_bytes",
                 "Memory of maps from documents to rows of segments, for filters that are new.", {},
                 bytes(maps));
  metrics->gauge("vecino_filter_cache_bytes",
                 "Memory of what filters let pass and of its codes, for filters that come again.",
                 {}, bytes(filters));
}

void RegisterMigrationGauge(const std::shared_ptr<const Migrations>& migrations, Metrics* metrics) {
  metrics->gauge(
      "vecino_migration_lag_writes",
      "Writes of collections whose embeddings are migrated that the side not in use does "
      "not have yet.",
      {}, [weak = std::weak_ptr<const Migrations>(migrations)] {
        const std::shared_ptr<const Migrations> alive = weak.lock();
        return alive == nullptr ? 0.0 : static_cast<double>(alive->Lag());
      });
}

void RegisterRecallGauges(std::shared_ptr<const Registry> registry, Metrics* metrics) {
  // least: samples that the figure takes.
  const auto gauges = [&](const char* name, const char* help, int64_t least,
                          double (*value)(const RecallEstimate&)) {
    metrics->gauges(name, help, [weak = std::weak_ptr(registry), least, value] {
      Metrics::Series series;
      const std::shared_ptr<const Registry> alive = weak.lock();
      if (alive == nullptr) return series;
      for (const auto& collection : alive->All()) {
        if (series.size() >= size_t{2} * kMostRecallSeries) break;
        const RecallStats recall = collection->Recall();
        const auto add = [&](const char* source, const RecallEstimate& estimate) {
          if (estimate.samples < least) return;
          series.push_back(
              {{{"collection", collection->id()}, {"source", source}}, value(estimate)});
        };
        add("live", recall.live);
        add("stored_documents", recall.stored_documents);
      }
      return series;
    });
  };
  constexpr int64_t kEnough = kEnoughRecallSamples;
  gauges("vecino_recall_estimate", "Mean share of the true nearest documents that searches found.",
         kEnough, [](const RecallEstimate& e) { return e.recall; });
  gauges("vecino_recall_estimate_lower", "Lower end of the 95% interval of vecino_recall_estimate.",
         kEnough, [](const RecallEstimate& e) { return e.lower; });
  gauges("vecino_recall_estimate_upper", "Upper end of the 95% interval of vecino_recall_estimate.",
         kEnough, [](const RecallEstimate& e) { return e.upper; });
  gauges("vecino_recall_target", "Mean recall target of the searches measured.", kEnough,
         [](const RecallEstimate& e) { return e.recall_target; });
  gauges("vecino_recall_samples", "Searches in the window of vecino_recall_estimate.", 1,
         [](const RecallEstimate& e) { return static_cast<double>(e.samples); });
  gauges("vecino_recall_age_seconds", "Time since the newest of vecino_recall_samples.", 1,
         [](const RecallEstimate& e) { return absl::ToDoubleSeconds(absl::Now() - e.newest); });
}

}  // namespace vecino::engine
