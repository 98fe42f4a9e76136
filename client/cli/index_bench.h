// Compares the kinds of indexes on a collection's own vectors.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vecino/client.h"

namespace vecino::cli {

// All kinds, in the order they are measured and told.
const std::vector<std::string>& BenchKinds();

// Documents there must be beyond the queries.
inline constexpr int kMinBenchDocuments = 100;

struct BenchOptions {
  std::string collection;
  std::vector<std::string> kinds = BenchKinds();
  int rows = 20'000;  // documents read, queries among them
  int queries = 200;  // of these, held out as queries
  int top_k = 10;
  bool keep = false;  // leave the temporary collections
};

// One kind at one setting, one client, one query after the other.
struct BenchPoint {
  std::string setting;  // "recall .95", "nprobe 8", "ef 40" or "default"
  double recall = 0;    // a hit counts when it scores no worse than the true last one
  double qps = 0;
  std::chrono::duration<double> p50{0}, p99{0};
};

struct BenchKind {
  std::string kind;
  std::string segments;     // what the index became: "IVF", "HNSW", "FLAT", ...
  double code_bytes = 0;    // a vector: codes, lists and graphs
  double memory_bytes = 0;  // a vector: all, with full vectors and labels
  std::chrono::duration<double> upsert_time{0}, build_time{0};
  std::vector<BenchPoint> points;  // from least effort to most
};

struct BenchReport {
  int rows = 0, queries = 0;     // indexed; asked
  std::vector<BenchKind> kinds;  // those that were finished
  std::string failed;            // what went wrong, when status is not OK
  Status status;                 // FAILED_PRECONDITION: the collection cannot be measured
  Status cleanup;                // why a temporary collection could not be deleted
  std::string left;              // and which
  bool interrupted = false;
};

// For each kind: makes a collection `NAME-bench-KIND` with one shard, writes the vectors to it,
// waits until they are indexed, and searches it. Each is deleted when it is measured and also when
// something fails or `interrupted` (set by a signal handler) ends the work; never one that was
// there before. `say` gets a line about each step. Holds the rows in memory: 4 × dimension bytes
// each. Blocks until all is done.
BenchReport RunBench(Client& client, const BenchOptions& options,
                     const std::atomic<bool>& interrupted,
                     const std::function<void(const std::string&)>& say);

// The kind and the point with the most queries a second at a recall of at least `recall`; nullptr
// when none has it.
struct BenchBest {
  const BenchKind* kind = nullptr;
  const BenchPoint* point = nullptr;
};
BenchBest BestAt(const std::vector<BenchKind>& kinds, double recall);

// How many of `hits` are as good as the truth, over how many it holds: scores at least as good as
// the last of the truth, to 1e-6 (of it, where it is above 1), so that ties count.
double RecallOf(const SearchResponse& found, const SearchResponse& truth);

}  // namespace vecino::cli
