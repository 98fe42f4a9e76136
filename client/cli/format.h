// Numbers, times and documents as the command line prints them.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "vecino/client.h"

namespace vecino::cli {

using Json = nlohmann::ordered_json;

std::string WithCommas(int64_t number);                         // 117,659
std::string Counted(int64_t number, const std::string& noun);   // 1 finding, 1,200 findings
std::string Bytes(int64_t bytes);                               // 1.5 GiB
std::string Duration(std::chrono::duration<double> duration);   // 3.1 ms, 12.0 s, 2 min 05 s
std::string ClockTime(std::chrono::duration<double> duration);  // 02:05, 1:02:05
std::string Rfc3339(
    std::chrono::system_clock::time_point time);  // UTC, seconds; empty at the epoch
std::string_view MetricName(Metric metric);       // cosine, dot, l2

// One line of JSON text. Never throws: bytes that are not UTF-8 become U+FFFD.
std::string OneLine(const Json& json);

// Id, and text, metadata, vector and expire time where there are such: the form `vecino load`
// reads.
Json DocumentJson(const Document& document);
Json PassageJson(const Passage& passage);
Json RerankedJson(const Reranked& reranked);  // {"reranked": {...}}
// The same with version, etag, times and passages, when the server sent them.
Json StoredDocumentJson(const Document& document);
Json CollectionJson(const Collection& collection);
std::string_view MigrationStateName(EmbeddingMigration::State state);  // building, ready, cut over
Json MigrationJson(const EmbeddingMigration& migration);

}  // namespace vecino::cli
