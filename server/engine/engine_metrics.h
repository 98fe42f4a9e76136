// The counters and latencies that the engine keeps.
#pragma once

#include <memory>
#include <string_view>

#include "server/metrics.h"

namespace vecino::engine {

class Migrations;
class Registry;
class FilterCache;
class SlotMaps;

// References into the registry, looked up once. `metrics` must outlive it.
struct EngineMetrics {
  explicit EngineMetrics(Metrics* metrics);

  Counter& searches;
  Counter& search_reruns;   // a hit was replaced or deleted between scan and fetch
  Counter& filter_rescans;  // an approximate search missed rows that a filter lets pass
  Histogram& search_embed;
  Histogram& search_scan;
  Histogram& search_fetch;
  Histogram& search_rerank;

  Counter& upserts;  // documents written
  Counter& deletes;  // documents deleted
  Counter& expired;  // of these, because they had expired
  Counter& commits;  // group commits; upserts and deletes over commits is the mean size of a group
  Counter& commit_failures;
  Histogram& write_embed;
  Histogram& write_commit;

  Counter& drains;
  Counter& merges;
  Counter& retrains;
  Counter& retrains_rejected;  // whose builds did not go live
  Counter& calibrations;       // those apart from a retrain
  Counter& graphs;
  Counter& maintenance_failures;
  Histogram& drain_time;
  Histogram& merge_time;
  Histogram& retrain_time;
  Histogram& calibrate_time;
  Histogram& graph_time;
  Histogram& publish_stall;  // how long writers of a shard wait while a view is put in place
};

// What all collections of `registry` hold together. Gone when the registry is.
void RegisterIndexGauges(std::shared_ptr<const Registry> registry, Metrics* metrics);
void RegisterMigrationGauge(const std::shared_ptr<const Migrations>& migrations, Metrics* metrics);

// Memory of maps from documents to rows, and of what filters let pass. Gone when these are.
void RegisterFilterGauges(const std::shared_ptr<const SlotMaps>& maps,
                          const std::shared_ptr<const FilterCache>& filters, Metrics* metrics);

// What is known of the recall of each collection, by where the queries came from, for the first
// kMostRecallSeries of them; without samples there is no series. Gone when the registry is.
inline constexpr int kMostRecallSeries = 1000;
void RegisterRecallGauges(std::shared_ptr<const Registry> registry, Metrics* metrics);

}  // namespace vecino::engine
