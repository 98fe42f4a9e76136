#include "client/cli/recall_text.h"

#include <algorithm>
#include <cstdio>

#include "client/cli/table.h"

namespace vecino::cli {
namespace {

using Clock = std::chrono::system_clock;

// "0.1%"
std::string Percent(double share) {
  char text[16];
  std::snprintf(text, sizeof(text), "%g%%", 100 * share);
  return text;
}

std::string Age(const RecallEstimate& estimate) {
  const auto age = std::max(Clock::duration::zero(), Clock::now() - estimate.newest_sample_time);
  return Duration(age);
}

std::string Documents(const RecallEstimate& estimate) {
  if (estimate.max_k == 0) return "any";
  if (estimate.min_k == estimate.max_k) return WithCommas(estimate.max_k);
  return WithCommas(estimate.min_k) + " to " + WithCommas(estimate.max_k);
}

std::string Passing(const RecallEstimate& estimate) {
  if (estimate.above_share == 0) return "at most " + Percent(estimate.up_to_share);
  return Percent(estimate.above_share) + " to " + Percent(estimate.up_to_share);
}

}  // namespace

std::string Share(double share) {
  char text[16];
  std::snprintf(text, sizeof(text), "%.3f", share);
  return text;
}

Json RecallJson(const RecallEstimate& estimate) {
  Json json{{"samples", estimate.samples}, {"enough", estimate.enough}};
  if (estimate.samples > 0) {
    json["recall"] = estimate.recall;
    json["lower"] = estimate.lower;
    json["upper"] = estimate.upper;
    json["recall_target"] = estimate.recall_target;
    json["oldest_sample_time"] = Rfc3339(estimate.oldest_sample_time);
    json["newest_sample_time"] = Rfc3339(estimate.newest_sample_time);
  }
  json["source"] = estimate.source;
  json["min_k"] = estimate.min_k;
  json["max_k"] = estimate.max_k;
  json["above_share"] = estimate.above_share;
  json["up_to_share"] = estimate.up_to_share;
  return json;
}

Json RecallStatsJson(const RecallStats& stats) {
  Json json = Json::object();
  if (stats.live) json["live"] = RecallJson(*stats.live);
  if (stats.stored_documents) json["stored_documents"] = RecallJson(*stats.stored_documents);
  json["by_kind"] = Json::array();
  for (const RecallEstimate& kind : stats.by_kind) json["by_kind"].push_back(RecallJson(kind));
  return json;
}

std::string RecallText(const RecallEstimate& estimate) {
  const std::string searches =
      WithCommas(estimate.samples) + (estimate.samples == 1 ? " search" : " searches");
  if (!estimate.enough) return "not enough: " + searches + " measured of the 50 it takes";
  return Share(estimate.recall) + " (" + Share(estimate.lower) + " to " + Share(estimate.upper) +
         "), " + searches + ", the latest " + Age(estimate) + " ago";
}

std::string RecallCell(const std::optional<RecallEstimate>& estimate) {
  return estimate && estimate->enough ? Share(estimate->recall) : "-";
}

void PrintRecall(std::ostream& out, const RecallStats& stats, int width) {
  out << "  recall        " << RecallText(stats.live.value_or(RecallEstimate()));
  if (stats.live && stats.live->enough && stats.live->recall_target > 0) {
    out << "; the target is " << Share(stats.live->recall_target);
  }
  out << '\n';
  if (stats.stored_documents) {
    out << "    of stored documents " << RecallText(*stats.stored_documents) << '\n';
  }
  if (stats.by_kind.empty()) return;
  out << '\n';
  Table table({{"SEARCHES FOR", Table::Align::kRight},
               {"THAT PASS", Table::Align::kRight},
               {"MEASURED", Table::Align::kRight},
               {"RECALL"}});
  for (const RecallEstimate& kind : stats.by_kind) {
    table.AddRow({Documents(kind), Passing(kind), WithCommas(kind.samples),
                  kind.enough ? Share(kind.recall) + " (" + Share(kind.lower) + " to " +
                                    Share(kind.upper) + ")"
                              : "not enough"});
  }
  table.Print(out, width);
}

namespace {

Json PointJson(const TuningPoint& point) {
  return {{"breadth", point.breadth},
          {"recall", point.recall},
          {"recall_error", point.recall_error},
          {"p50_us", static_cast<double>(point.p50.count()) / 1e3},
          {"p99_us", static_cast<double>(point.p99.count()) / 1e3},
          {"rows_scanned", point.rows_scanned},
          {"exact", point.exact}};
}

}  // namespace

Json TuningJson(const IndexTuning& tuning) {
  Json json{{"recall_target", tuning.recall_target},
            {"queries", tuning.queries},
            {"live_queries", tuning.live_queries},
            {"share", tuning.share},
            {"shards_tuned", tuning.shards_tuned},
            {"shards_not_needed", tuning.shards_not_needed},
            {"points", Json::array()}};
  for (const TuningPoint& point : tuning.points) json["points"].push_back(PointJson(point));
  if (tuning.recommended) json["recommended"] = PointJson(*tuning.recommended);
  return json;
}

void PrintTuning(std::ostream& out, const IndexTuning& tuning, int width) {
  out << WithCommas(tuning.queries) << " queries, " << WithCommas(tuning.live_queries)
      << " of them callers'; the filter lets " << Percent(tuning.share) << " pass\n\n";
  Table table({{"BREADTH", Table::Align::kRight},
               {"RECALL", Table::Align::kRight},
               {"ERROR", Table::Align::kRight},
               {"P50", Table::Align::kRight},
               {"P99", Table::Align::kRight},
               {"ROWS COMPARED", Table::Align::kRight},
               {""}});
  const auto& best = tuning.recommended;
  for (const TuningPoint& point : tuning.points) {
    const bool is_best = best && best->exact == point.exact && best->breadth == point.breadth &&
                         best->rows_scanned == point.rows_scanned;
    table.AddRow({point.exact ? "exact" : WithCommas(point.breadth), Share(point.recall),
                  Share(point.recall_error), Duration(point.p50), Duration(point.p99),
                  WithCommas(point.rows_scanned),
                  is_best ? "for recall " + Share(tuning.recall_target) : ""});
  }
  table.Print(out, width);
  if (!best) out << "no setting is sure to reach recall " << Share(tuning.recall_target) << '\n';
}

}  // namespace vecino::cli
