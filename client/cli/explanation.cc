#include "client/cli/explanation.h"

#include <cstdio>
#include <string>

#include "client/cli/recall_text.h"
#include "client/cli/table.h"

namespace vecino::cli {
namespace {

std::string Percent(double share) {
  char text[16];
  std::snprintf(text, sizeof(text), "%.3g%%", 100 * share);
  return text;
}

}  // namespace

Json ExplanationJson(const SearchResponse& response) {
  const SearchExplanation& of = *response.explanation;
  const SearchEffort& effort = response.effort;
  Json json{{"effective_nprobe", effort.effective_nprobe}, {"effective_ef", effort.effective_ef},
            {"rows_scanned", effort.rows_scanned},         {"rows_rescored", effort.rows_rescored},
            {"expected_recall", effort.expected_recall},   {"exact", effort.exact}};
  if (!effort.shortfall_reason.empty()) json["shortfall_reason"] = effort.shortfall_reason;
  json["selectivity"] = of.selectivity;
  json["recall_target"] = of.recall_target;
  if (of.verified_recall.has_value()) json["verified_recall"] = *of.verified_recall;
  json["stages"] = Json::object();
  for (const SearchExplanation::Stage& stage : of.stages) {
    json["stages"][stage.stage] = stage.time.count();  // microseconds
  }
  json["shards"] = Json::array();
  for (const SearchExplanation::Shard& shard : of.shards) {
    json["shards"].push_back(Json{{"shard", shard.shard},
                                  {"plan", shard.plan},
                                  {"nprobe", shard.nprobe},
                                  {"nlist", shard.nlist},
                                  {"ef", shard.ef},
                                  {"rows_scanned", shard.rows_scanned},
                                  {"rows_reranked", shard.rows_reranked},
                                  {"rows_rescored", shard.rows_rescored},
                                  {"passing_rows", shard.passing_rows},
                                  {"expected_recall", shard.expected_recall}});
  }
  return Json{{"explanation", json}};
}

void PrintExplanation(const SearchResponse& response, std::ostream& out, int width) {
  const SearchExplanation& of = *response.explanation;
  const SearchEffort& effort = response.effort;
  out << '\n';
  if (!of.shards.empty()) {
    Table table({{"SHARD", Table::Align::kRight},
                 {"MAY BE FOUND", Table::Align::kRight},
                 {"SCANNED", Table::Align::kRight},
                 {"EXPECTED", Table::Align::kRight},
                 {"PLAN"}});
    for (const SearchExplanation::Shard& shard : of.shards) {
      table.AddRow({std::to_string(shard.shard), WithCommas(shard.passing_rows),
                    WithCommas(shard.rows_scanned), Share(shard.expected_recall), shard.plan});
    }
    table.Print(out, width);
  }
  out << "  looked at  " << WithCommas(effort.rows_scanned) << " rows, "
      << WithCommas(effort.rows_rescored) << " of them again by full vectors";
  if (of.selectivity < 1) out << "; the filter lets " << Percent(of.selectivity) << " pass";
  out << '\n' << "  recall     ";
  if (effort.exact) {
    out << "exact: every document that may be found was compared";
  } else {
    out << Share(effort.expected_recall) << " expected";
    if (of.recall_target > 0) out << " for a target of " << Share(of.recall_target);
  }
  if (of.verified_recall.has_value()) out << "; verified: " << Share(*of.verified_recall);
  out << '\n';
  if (!effort.shortfall_reason.empty()) {
    out << "  fewer than asked for: " << effort.shortfall_reason << '\n';
  }
  out << "  time       ";
  const char* between = "";
  for (const SearchExplanation::Stage& stage : of.stages) {
    out << between << stage.stage << ' ' << Duration(stage.time);
    between = ", ";
  }
  out << '\n';
}

}  // namespace vecino::cli
