// Sends queries from several clients at once, each waiting for its reply, and prints one JSON
// object: clients, queries, seconds, qps, p50_ms, p99_ms, and with --hits the ids found for each
// query.
//
// search_bench --server HOST:PORT --collection NAME --queries FILE (--clients N) (--rounds N)
// (--dim D) (--hits)
//
// FILE holds one query text a line, or with --dim D raw little-endian float32 vectors of D floats.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "vecino/client.h"

namespace {

using Clock = std::chrono::steady_clock;

std::vector<vecino::Query> ReadQueries(const std::string& path, int dimension) {
  std::vector<vecino::Query> queries;
  std::ifstream file(path, std::ios::binary);
  if (dimension == 0) {
    for (std::string line; std::getline(file, line);) {
      queries.push_back(vecino::Query::Text(std::move(line)));
    }
    return queries;
  }
  std::vector<float> vector(dimension);
  const auto size = static_cast<std::streamsize>(vector.size() * sizeof(float));
  while (file.read(reinterpret_cast<char*>(vector.data()), size)) {
    queries.push_back(vecino::Query::Vector(vector));
  }
  return queries;
}

// The value below which `part` of the sorted values lie.
double Percentile(const std::vector<double>& sorted, double part) {
  const auto place = static_cast<size_t>(part * static_cast<double>(sorted.size()));
  return sorted[std::min(place, sorted.size() - 1)];
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Search latency and throughput over gRPC");
  std::string server, collection, path;
  int clients = 1, rounds = 1, dimension = 0, top_k = 10;
  bool print_hits = false;
  app.add_option("--server", server)->required();
  app.add_option("--collection", collection)->required();
  app.add_option("--queries", path)->required();
  app.add_option("--clients", clients)->check(CLI::Range(1, 256));
  app.add_option("--rounds", rounds, "Times all queries are sent")->check(CLI::Range(1, 1'000'000));
  app.add_option("--dim", dimension);
  app.add_option("-k", top_k);
  app.add_flag("--hits", print_hits);
  CLI11_PARSE(app, argc, argv);

  const std::vector<vecino::Query> queries = ReadQueries(path, dimension);
  if (queries.empty()) {
    std::cerr << "no queries in " << path << '\n';
    return 2;
  }
  const size_t total = queries.size() * static_cast<size_t>(rounds);
  std::vector<double> milliseconds(total);
  std::vector<std::vector<std::string>> hits(queries.size());
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    vecino::Client client({.server = server});  // a connection of its own
    if (!client.WaitForReady(std::chrono::seconds(10)).ok()) failed = true;
    for (size_t i = next++; i < total && !failed; i = next++) {
      const size_t q = i % queries.size();
      const Clock::time_point begin = Clock::now();
      const auto found = client.Search(collection, queries[q], {.top_k = top_k});
      milliseconds[i] = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
      if (!found.ok()) {
        std::cerr << found.status().ToString() << '\n';
        failed = true;
        return;
      }
      if (i >= queries.size()) continue;  // the first round's answers are enough
      for (const vecino::SearchHit& hit : found->hits) hits[q].push_back(hit.document.id);
    }
  };
  const Clock::time_point begin = Clock::now();
  std::vector<std::thread> threads;
  threads.reserve(clients);
  for (int i = 0; i < clients; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (failed) return 1;

  std::sort(milliseconds.begin(), milliseconds.end());
  nlohmann::ordered_json report{{"clients", clients},
                                {"queries", total},
                                {"seconds", seconds},
                                {"qps", static_cast<double>(total) / seconds},
                                {"p50_ms", Percentile(milliseconds, 0.5)},
                                {"p99_ms", Percentile(milliseconds, 0.99)}};
  if (print_hits) report["hits"] = hits;
  std::cout << report << '\n';
  return 0;
}
