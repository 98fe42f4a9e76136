#include "client/cli/collection_stats.h"

#include <cstdio>
#include <map>

#include "client/cli/recall_text.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

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
            {"tail_bytes", shard.tail_bytes},
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
  }
  json["last_choice"] = shard.last_choice;
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

std::string Imbalance(double imbalance) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", imbalance);
  return text;
}

}  // namespace

Json StatsJson(const std::string& id, const CollectionStats& stats) {
  Json json{{"id", id},
            {"live_documents", stats.live_documents},
            {"deleted_rows", stats.deleted_rows},
            {"tail_rows", stats.tail_rows},
            {"segments", stats.segments},
            {"tail_bytes", stats.tail_bytes},
            {"segment_bytes", stats.segment_bytes},
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
      << '\n'
      << "  segments      " << WithCommas(stats.segments) << ", " << Bytes(stats.segment_bytes)
      << '\n';
  if (stats.segments > 0) {
    out << "    codes       " << Bytes(stats.memory.codes) << '\n'
        << "    8-bit rows  " << Bytes(stats.memory.rounded) << '\n'
        << "    vectors     " << Bytes(stats.memory.vectors) << '\n'
        << "    labels      " << Bytes(stats.memory.labels) << '\n'
        << "    of these in mapped files " << Bytes(stats.memory.mapped) << '\n';
  }
  PrintRecall(out, stats.recall, width);
  out << '\n';
  Table table({{"SHARD", Table::Align::kRight},
               {"DOCUMENTS", Table::Align::kRight},
               {"DELETED", Table::Align::kRight},
               {"TAIL ROWS", Table::Align::kRight},
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
         WithCommas(shard.deleted_rows), WithCommas(shard.tail_rows), WithCommas(shard.segments),
         WithCommas(shard.last_sequence_number), trained ? WithCommas(trained->generation) : "-",
         trained ? WithCommas(trained->trained_rows) : "-",
         trained ? WithCommas(trained->nlist) : "-", trained ? WithCommas(trained->nprobe) : "-",
         trained ? Imbalance(trained->imbalance) : "-", RecallCell(shard.recall.live),
         Kinds(shard)});
    choices = choices || !shard.last_choice.empty();
  }
  table.Print(out, width);
  if (!choices) return;
  out << "\nLast maintenance\n";
  for (const ShardStats& shard : stats.shards) {
    if (shard.last_choice.empty()) continue;
    out << "  shard " << shard.shard << ": " << Printable(shard.last_choice) << '\n';
  }
}

}  // namespace vecino::cli
