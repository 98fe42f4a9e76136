#include "client/cli/format.h"

#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "client/cli/time_values.h"

namespace vecino::cli {
namespace {

template <typename... Arguments>
std::string Print(const char* format, Arguments... arguments) {
  char text[64];
  std::snprintf(text, sizeof(text), format, arguments...);
  return text;
}

}  // namespace

std::string WithCommas(int64_t number) {
  std::string digits = std::to_string(number);
  const int first = number < 0 ? 1 : 0;
  for (int at = static_cast<int>(digits.size()) - 3; at > first; at -= 3) digits.insert(at, 1, ',');
  return digits;
}

std::string Counted(int64_t number, const std::string& noun) {
  return WithCommas(number) + " " + noun + (number == 1 ? "" : "s");
}

std::string Bytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (std::fabs(value) >= 1024 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  return Print(unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
}

std::string Duration(std::chrono::duration<double> duration) {
  const double seconds = duration.count();
  if (seconds < 1) return Print("%.1f ms", seconds * 1e3);
  if (seconds < 60) return Print("%.1f s", seconds);
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 3600)
    return Print("%" PRId64 " min %02d s", whole / 60, static_cast<int>(whole % 60));
  return Print("%" PRId64 " h %02d min", whole / 3600, static_cast<int>(whole / 60 % 60));
}

std::string ClockTime(std::chrono::duration<double> duration) {
  const auto whole = static_cast<int64_t>(duration.count() + 0.5);
  const int minutes = static_cast<int>(whole / 60 % 60);
  const int seconds = static_cast<int>(whole % 60);
  if (whole < 3600) return Print("%02d:%02d", minutes, seconds);
  return Print("%" PRId64 ":%02d:%02d", whole / 3600, minutes, seconds);
}

std::string Rfc3339(std::chrono::system_clock::time_point time) {
  if (time == std::chrono::system_clock::time_point()) return {};
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return std::string(text, length);
}

std::string_view MetricName(Metric metric) {
  switch (metric) {
    case Metric::kCosine:
      return "cosine";
    case Metric::kDot:
      return "dot";
    case Metric::kL2:
      return "l2";
  }
  return "unknown";
}

std::string OneLine(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Json DocumentJson(const Document& document) {
  Json json;
  json["id"] = document.id;
  if (!document.text.empty()) json["text"] = document.text;
  if (!document.metadata_json.empty()) {
    json["metadata"] = Json::parse(document.metadata_json, nullptr, /*allow_exceptions=*/false);
  }
  if (!document.vector.empty()) json["vector"] = document.vector;
  if (document.expire_time.has_value()) json["expire_time"] = ExactTime(*document.expire_time);
  return json;
}

Json StoredDocumentJson(const Document& document) {
  Json json = DocumentJson(document);
  json["version"] = document.version;
  json["create_time"] = Rfc3339(document.create_time);
  json["update_time"] = Rfc3339(document.update_time);
  json["etag"] = document.etag;
  for (const Passage& passage : document.passages) json["passages"].push_back(PassageJson(passage));
  return json;
}

Json PassageJson(const Passage& passage) {
  Json json{{"index", passage.index}, {"start", passage.start}, {"end", passage.end}};
  if (!passage.text.empty()) json["text"] = passage.text;
  if (!passage.vector.empty()) json["vector"] = passage.vector;
  return json;
}

Json RerankedJson(const Reranked& reranked) {
  return Json{{"reranked",
               {{"model", reranked.model},
                {"pairs", reranked.pairs},
                {"truncated_pairs", reranked.truncated_pairs},
                {"complete", reranked.complete}}}};
}

std::string_view MigrationStateName(EmbeddingMigration::State state) {
  switch (state) {
    case EmbeddingMigration::State::kBuilding:
      return "building";
    case EmbeddingMigration::State::kReady:
      return "ready";
    case EmbeddingMigration::State::kCutOver:
      return "cut over";
  }
  return "unknown";
}

Json MigrationJson(const EmbeddingMigration& migration) {
  const auto side = [](const EmbeddingSideInfo& info) {
    return Json{{"model", info.model},
                {"model_hash", info.model_hash},
                {"query_prompt", info.query_prompt},
                {"document_prompt", info.document_prompt},
                {"dimension", info.dimension},
                {"documents_without_vector", info.documents_without_vector}};
  };
  Json json{{"state", MigrationStateName(migration.state)},
            {"active", migration.active == EmbeddingSide::kOld ? "old" : "new"},
            {"old", side(migration.old_side)},
            {"new", side(migration.new_side)},
            {"documents_done", migration.documents_done},
            {"documents_total", migration.documents_total},
            {"lag", migration.lag},
            {"operation", migration.operation},
            {"begin_time", Rfc3339(migration.begin_time)}};
  if (migration.switch_time != std::chrono::system_clock::time_point()) {
    json["switch_time"] = Rfc3339(migration.switch_time);
  }
  if (!migration.problem.empty()) json["problem"] = migration.problem;
  if (migration.overlap) {
    json["overlap"] = {{"samples", migration.overlap->samples},
                       {"top_k", migration.overlap->top_k},
                       {"overlap", migration.overlap->overlap},
                       {"rank_biased_overlap", migration.overlap->rank_biased_overlap},
                       {"own_texts", migration.overlap->own_texts}};
  }
  return json;
}

Json CollectionJson(const Collection& collection) {
  const IndexParameters& parameters = collection.index_parameters;
  Json json = {{"id", collection.id},
               {"dimension", collection.dimension},
               {"metric", MetricName(collection.metric)},
               {"model", collection.model},
               {"model_hash", collection.model_hash},
               {"query_prompt", collection.query_prompt},
               {"document_prompt", collection.document_prompt},
               {"shard_count", collection.shard_count},
               {"index_kind", collection.index_kind},
               {"recall_target", collection.recall_target},
               {"index_parameters",
                {{"nlist", parameters.nlist},
                 {"nprobe", parameters.nprobe},
                 {"pq_m", parameters.pq_m},
                 {"pq_bits", parameters.pq_bits},
                 {"hnsw_m", parameters.hnsw_m},
                 {"ef_construction", parameters.ef_construction},
                 {"ef_search", parameters.ef_search},
                 {"lsh_bits", parameters.lsh_bits},
                 {"graph", parameters.graph}}},
               {"etag", collection.etag},
               {"create_time", Rfc3339(collection.create_time)}};
  if (collection.chunking.has_value()) {
    json["chunking"] = {{"max_tokens", collection.chunking->max_tokens},
                        {"overlap_tokens", collection.chunking->overlap_tokens.value_or(0)}};
  }
  if (collection.migration) json["migration"] = MigrationJson(*collection.migration);
  return json;
}

}  // namespace vecino::cli
