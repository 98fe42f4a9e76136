#include "client/cli/collection_stats.h"

#include <cstdio>
#include <map>

#include "client/cli/recall_text.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

double Seconds(std::chrono::duration<double> duration) { return duration.count(); }

Json MemoryJson(const SegmentMemory& memory) {
  return {{"code_bytes", memory.codes},
          {"rounded_bytes", memory.rounded},
          {"vector_bytes", memory.vectors},
          {"label_bytes", memory.labels},
          {"mapped_bytes", memory.mapped}};
}

Json ShardJson(const ShardStats& shard) {
  Json json{{"shard", shard.shard},
            {"live_documents", shard.live_documents},
            {"last_sequence_number", shard.last_sequence_number},
            {"tail_rows", shard.tail_rows},
            {"waiting_tails", shard.waiting_tails},
            {"index_lag_seconds", Seconds(shard.index_lag)},
            {"tail_bytes", shard.tail_bytes},
            {"field_bytes", shard.field_bytes},
            {"deleted_rows", shard.deleted_rows},
            {"segments", shard.segments},
            {"segment_memory", MemoryJson(shard.memory)},
            {"segment_stats", Json::array()}};
  for (const SegmentStats& segment : shard.segment_stats) {
    json["segment_stats"].push_back({{"kind", segment.kind},
                                     {"rows", segment.rows},
                                     {"deleted_rows", segment.deleted_rows},
                                     {"generation", segment.generation}});
  }
  if (shard.generation) {
    json["generation"] = {{"generation", shard.generation->generation},
                          {"trained_rows", shard.generation->trained_rows},
                          {"calibrated_rows", shard.generation->calibrated_rows},
                          {"nlist", shard.generation->nlist},
                          {"nprobe", shard.generation->nprobe},
                          {"imbalance", shard.generation->imbalance},
                          {"train_time", Rfc3339(shard.generation->train_time)}};
    if (shard.generation->tuned_points > 0) {
      json["generation"]["tune_time"] = Rfc3339(shard.generation->tune_time);
      json["generation"]["tuned_points"] = shard.generation->tuned_points;
    }
  }
  json["last_choice"] = shard.last_choice;
  json["drift"] = Json::array();
  for (const DriftSignal& signal : shard.drift) {
    json["drift"].push_back({{"name", signal.name},
                             {"value", signal.value},
                             {"limit", signal.limit},
                             {"due", signal.due}});
  }
  json["recall"] = RecallStatsJson(shard.recall);
  return json;
}

// "IVF+GRAPH, 3 FLAT"
std::string Kinds(const ShardStats& shard) {
  std::map<std::string, int> counts;
  for (const SegmentStats& segment : shard.segment_stats) ++counts[segment.kind];
  std::string text;
  for (const auto& [kind, count] : counts) {
    if (!text.empty()) text += ", ";
    if (count > 1) text += WithCommas(count) + " ";
    text += kind;
  }
  return text;
}

// "1.04 of 1.15", with an exclamation mark where it is beyond; "-": not known.
std::string Drift(const ShardStats& shard, std::string_view name) {
  for (const DriftSignal& signal : shard.drift) {
    if (signal.name != name || (signal.value == 0 && name != "deleted_share")) continue;
    char text[64];
    std::snprintf(text, sizeof(text), "%.3g of %.3g%s", signal.value, signal.limit,
                  signal.due ? "!" : "");
    return text;
  }
  return "-";
}

// Nothing where no full tail waits to become a segment.
std::string Waiting(int tails, std::chrono::microseconds lag) {
  if (tails == 0) return "";
  return "; full tails waiting: " + WithCommas(tails) + ", the oldest for " + Duration(lag);
}

std::string Imbalance(double imbalance) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", imbalance);
  return text;
}

void PrintDrift(std::ostream& out, const CollectionStats& stats, int width) {
  bool trained = false;
  for (const ShardStats& shard : stats.shards) trained = trained || shard.generation.has_value();
  if (!trained) return;
  out << "\nDrift since training: each sign, and what it may be before the shard is retrained (!: "
         "due); recall: at least so much, of the target\n";
  Table table({{"SHARD", Table::Align::kRight},
               {"GROWTH", Table::Align::kRight},
               {"IMBALANCE", Table::Align::kRight},
               {"ASSIGNMENT", Table::Align::kRight},
               {"QUANTIZATION", Table::Align::kRight},
               {"DELETED", Table::Align::kRight},
               {"RECALL", Table::Align::kRight}});
  for (const ShardStats& shard : stats.shards) {
    table.AddRow({std::to_string(shard.shard), Drift(shard, "growth"), Drift(shard, "imbalance"),
                  Drift(shard, "assignment_error"), Drift(shard, "quantization_error"),
                  Drift(shard, "deleted_share"), Drift(shard, "recall")});
  }
  table.Print(out, width);
}

}  // namespace

Json StatsJson(const std::string& id, const CollectionStats& stats) {
  Json json{{"id", id},
            {"live_documents", stats.live_documents},
            {"deleted_rows", stats.deleted_rows},
            {"tail_rows", stats.tail_rows},
            {"waiting_tails", stats.waiting_tails},
            {"index_lag_seconds", Seconds(stats.index_lag)},
            {"segments", stats.segments},
            {"tail_bytes", stats.tail_bytes},
            {"segment_bytes", stats.segment_bytes},
            {"field_bytes", stats.field_bytes},
            {"segment_memory", MemoryJson(stats.memory)},
            {"recall", RecallStatsJson(stats.recall)},
            {"shards", Json::array()}};
  for (const ShardStats& shard : stats.shards) json["shards"].push_back(ShardJson(shard));
  return json;
}

void PrintStats(std::ostream& out, const std::string& id, const CollectionStats& stats, int width) {
  out << Printable(id) << '\n'
      << "  documents     " << WithCommas(stats.live_documents) << '\n'
      << "  deleted rows  " << WithCommas(stats.deleted_rows) << '\n'
      << "  tail          " << WithCommas(stats.tail_rows) << " rows, " << Bytes(stats.tail_bytes)
      << Waiting(stats.waiting_tails, stats.index_lag) << '\n'
      << "  segments      " << WithCommas(stats.segments) << ", " << Bytes(stats.segment_bytes)
      << '\n';
  if (stats.segments > 0) {
    out << "    codes       " << Bytes(stats.memory.codes) << '\n'
        << "    8-bit rows  " << Bytes(stats.memory.rounded) << '\n'
        << "    vectors     " << Bytes(stats.memory.vectors) << '\n'
        << "    labels      " << Bytes(stats.memory.labels) << '\n'
        << "    of these in mapped files " << Bytes(stats.memory.mapped) << '\n';
  }
  out << "  fields        " << Bytes(stats.field_bytes) << '\n';
  PrintRecall(out, stats.recall, width);
  out << '\n';
  Table table({{"SHARD", Table::Align::kRight},
               {"DOCUMENTS", Table::Align::kRight},
               {"DELETED", Table::Align::kRight},
               {"TAIL ROWS", Table::Align::kRight},
               {"LAG", Table::Align::kRight},
               {"SEGMENTS", Table::Align::kRight},
               {"LAST SEQUENCE", Table::Align::kRight},
               {"GENERATION", Table::Align::kRight},
               {"TRAINED ROWS", Table::Align::kRight},
               {"LISTS", Table::Align::kRight},
               {"PROBED", Table::Align::kRight},
               {"IMBALANCE", Table::Align::kRight},
               {"RECALL", Table::Align::kRight},
               {"KINDS"}});
  bool choices = false;
  for (const ShardStats& shard : stats.shards) {
    const auto& trained = shard.generation;
    table.AddRow(
        {std::to_string(shard.shard), WithCommas(shard.live_documents),
         WithCommas(shard.deleted_rows), WithCommas(shard.tail_rows),
         shard.waiting_tails > 0 ? Duration(shard.index_lag) : "-", WithCommas(shard.segments),
         WithCommas(shard.last_sequence_number), trained ? WithCommas(trained->generation) : "-",
         trained ? WithCommas(trained->trained_rows) : "-",
         trained ? WithCommas(trained->nlist) : "-", trained ? WithCommas(trained->nprobe) : "-",
         trained ? Imbalance(trained->imbalance) : "-", RecallCell(shard.recall.live),
         Kinds(shard)});
    choices = choices || !shard.last_choice.empty();
  }
  table.Print(out, width);
  PrintDrift(out, stats, width);
  if (!choices) return;
  out << "\nLast maintenance\n";
  for (const ShardStats& shard : stats.shards) {
    if (shard.last_choice.empty()) continue;
    out << "  shard " << shard.shard << ": " << Printable(shard.last_choice) << '\n';
  }
}

}  // namespace vecino::cli
