// lexical_bench TEXTS QUERIES [K]: how fast words are cut, indexed, merged and searched, on one
// thread. Each line of TEXTS is a document, each line of QUERIES a query. A child of
// lexical_peers.py: the last line is one JSON object, with the hits of each query in order of the
// queries.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "server/fields/analyzer.h"
#include "server/fields/bm25.h"
#include "server/fields/postings.h"

namespace vecino::fields {
namespace {

using PostingsPtr = std::shared_ptr<const Postings>;
constexpr size_t kChunk = 256;  // documents that become a segment at once

absl::Status GoOn() { return absl::OkStatus(); }

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<std::string> ReadLines(const char* path) {
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "lexical_bench: cannot read %s\n", path);
    std::exit(1);
  }
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

template <class T>
T Value(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "lexical_bench: %s\n", value.status().ToString().c_str());
  std::exit(1);
}

PostingsPtr MergeAll(const std::vector<PostingsPtr>& parts) {
  std::vector<std::vector<uint32_t>> maps;
  std::vector<Postings::Input> inputs;
  uint32_t documents = 0;
  for (const PostingsPtr& part : parts) {
    auto& map = maps.emplace_back(part->document_count());
    std::iota(map.begin(), map.end(), documents);
    documents += part->document_count();
  }
  for (size_t i = 0; i < parts.size(); ++i) inputs.push_back({parts[i].get(), maps[i]});
  return Value(Postings::Merge(inputs, documents, GoOn));
}

struct Times {
  double p50 = 0, p99 = 0, mean = 0;
};

// Milliseconds of a query, from its text to its hits.
Times Search(const std::vector<LexicalPart>& parts, const std::vector<std::string>& queries, int k,
             nlohmann::json* hits) {
  std::vector<double> times;
  for (const std::string& query : queries) {
    const double begin = Now();
    Bm25 options;
    options.k = k;
    const auto found = Value(SearchBm25(LexicalTerms(query), parts, options, GoOn));
    times.push_back((Now() - begin) * 1e3);
    if (hits == nullptr) continue;
    auto& list = hits->emplace_back(nlohmann::json::array());
    for (const LexicalHit& hit : found) list.push_back({hit.slot, hit.score});
  }
  Times result;
  result.mean =
      std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  std::sort(times.begin(), times.end());
  result.p50 = times[times.size() / 2];
  result.p99 = times[times.size() * 99 / 100];
  return result;
}

nlohmann::json Json(const Times& times) {
  return {{"p50_ms", times.p50}, {"p99_ms", times.p99}, {"mean_ms", times.mean}};
}

int Run(const char* texts_path, const char* queries_path, int k) {
  const auto texts = ReadLines(texts_path);
  const auto queries = ReadLines(queries_path);
  size_t bytes = 0, words = 0;
  for (const std::string& text : texts) bytes += text.size();
  Analyzer& analyzer = Analyzer::ForThisThread();
  double begin = Now();
  for (const std::string& text : texts) {
    analyzer.Analyze(text, [&](std::string_view) { ++words; });
  }
  const double analyze = Now() - begin;

  begin = Now();
  std::vector<DocumentTerms> rows;
  for (const std::string& text : texts) rows.emplace_back(text);
  const double count = Now() - begin;
  std::vector<const DocumentTerms*> pointers;
  for (const DocumentTerms& row : rows) pointers.push_back(&row);

  begin = Now();
  std::vector<PostingsPtr> level;
  for (size_t i = 0; i < pointers.size(); i += kChunk) {
    level.push_back(Value(
        Postings::Build(std::span(pointers).subspan(i, std::min(kChunk, pointers.size() - i)))));
  }
  const double build = Now() - begin;
  begin = Now();
  while (level.size() > 1) {
    std::vector<PostingsPtr> next;
    for (size_t i = 0; i < level.size(); i += 8) {
      next.push_back(
          MergeAll({level.begin() + static_cast<std::ptrdiff_t>(i),
                    level.begin() + static_cast<std::ptrdiff_t>(std::min(i + 8, level.size()))}));
    }
    level = std::move(next);
  }
  const double merge = Now() - begin;
  const PostingsPtr& whole = level.front();
  begin = Now();
  Value(Postings::Parse(nullptr, whole->data(), GoOn));
  const double parse = Now() - begin;

  nlohmann::json hits = nlohmann::json::array();
  Search({{whole.get(), {}, nullptr, nullptr}}, queries, k, nullptr);  // warms up
  const Times one = Search({{whole.get(), {}, nullptr, nullptr}}, queries, k, &hits);
  // As a shard looks that is written to: segments of falling size, and rows in none.
  std::vector<PostingsPtr> segments;
  std::vector<LexicalPart> parts;
  size_t at = 0;
  for (size_t left = pointers.size(); left > 2 * kChunk; left = pointers.size() - at) {
    const size_t size = left * 3 / 4;
    segments.push_back(Value(Postings::Build(std::span(pointers).subspan(at, size))));
    parts.push_back({segments.back().get(), {}, nullptr, nullptr});
    at += size;
  }
  parts.push_back({nullptr, std::span(pointers).subspan(at), nullptr, nullptr});
  const Times tiers = Search(parts, queries, k, nullptr);

  const double mib = static_cast<double>(bytes) / (1 << 20);
  std::printf("%zu documents, %.1f MiB, %zu words, %u terms, %zu queries, k = %d\n", texts.size(),
              mib, words, whole->term_count(), queries.size(), k);
  std::printf("cutting words           %7.1f MB/s  %5.1f ns a word\n",
              static_cast<double>(bytes) / 1e6 / analyze,
              analyze * 1e9 / static_cast<double>(words));
  std::printf("and counting them       %7.1f MB/s\n", static_cast<double>(bytes) / 1e6 / count);
  std::printf("segments of %zu         %7.1f ms, %.0f documents/s\n", kChunk, build * 1e3,
              static_cast<double>(texts.size()) / build);
  std::printf("merging them in tiers   %7.1f ms\n", merge * 1e3);
  std::printf("reading and checking    %7.1f ms\n", parse * 1e3);
  std::printf("memory                  %7.2f MB, %.2f of the texts\n",
              static_cast<double>(whole->bytes()) / 1e6,
              static_cast<double>(whole->bytes()) / static_cast<double>(bytes));
  std::printf("search, one segment     p50 %.3f ms, p99 %.3f, mean %.3f\n", one.p50, one.p99,
              one.mean);
  std::printf("search, %zu parts         p50 %.3f ms, p99 %.3f, mean %.3f\n", parts.size(),
              tiers.p50, tiers.p99, tiers.mean);
  std::printf("%s\n", nlohmann::json{{"one", Json(one)},
                                     {"tiers", Json(tiers)},
                                     {"index_s", count + build + merge},
                                     {"bytes", whole->bytes()},
                                     {"hits", hits}}
                          .dump()
                          .c_str());
  return 0;
}

}  // namespace
}  // namespace vecino::fields

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::fprintf(stderr, "usage: lexical_bench TEXTS QUERIES [K]\n");
    return 2;
  }
  return vecino::fields::Run(argv[1], argv[2], argc > 3 ? std::atoi(argv[3]) : 10);
}
