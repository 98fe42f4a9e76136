// AUTO's index in one process, as a child of ann_peers.py (whose header tells the protocol).
//
//   index_bench [--limit ROWS] [--graph] [--nlist N] [--threads N] [--small N]
//               [--file PATH] FOLDER [K] [wall|cpu]
//
// --small: the last N times 8,192 rows stand in segments of their own (without a filter).
// FOLDER holds base.npy, queries.npy (float32 unit vectors) and truth_scores.npy (the exact scores
// of each query's nearest, best first). Prints one JSON line about the build, then answers lines
// `search {json}` with one line each:
// {"recall": .95} | {"nprobe": 96, "rerank": 100} | {"ef": 64}, each with optional "filter" (share
// of rows that pass), "coded" (true: codes of these stand by themselves, as of filters that come
// again), "graph" (false: lists although there is a graph), "k". Recall counts ties.
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <latch>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/index/graph.h"
#include "server/index/ivf_search.h"
#include "server/index/ivf_segment.h"
#include "server/index/passing_codes.h"
#include "server/index/shard_index.h"
#include "server/index/training.h"
#include "server/index/view.h"

namespace {

using vecino::index::SearchParams;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

// Seconds of this thread's CPU, or of the wall.
double Now(bool cpu) {
  timespec t{};
  clock_gettime(cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Matrix {
  size_t rows = 0, columns = 0;
  std::vector<float> data;
  const float* row(size_t i) const { return data.data() + i * columns; }
};

// A version 1 .npy file of little-endian float32 in C order.
Matrix ReadNpy(const std::string& path, size_t limit = SIZE_MAX) {
  std::ifstream in(path, std::ios::binary);
  char head[10];
  if (!in.read(head, 10) || std::memcmp(head, "\x93NUMPY\x01", 7) != 0) {
    throw std::runtime_error(path + " is not a version 1 npy file");
  }
  std::string header(static_cast<unsigned char>(head[8]) | static_cast<unsigned char>(head[9]) << 8,
                     ' ');
  in.read(header.data(), static_cast<std::streamsize>(header.size()));
  if (header.find("'<f4'") == std::string::npos || header.find("True") != std::string::npos) {
    throw std::runtime_error(path + " does not hold float32 rows");
  }
  Matrix matrix;
  if (std::sscanf(header.c_str() + header.find("'shape': (") + 10, "%zu, %zu", &matrix.rows,
                  &matrix.columns) != 2) {
    throw std::runtime_error(path + " has no two dimensions");
  }
  matrix.rows = std::min(matrix.rows, limit);
  matrix.data.resize(matrix.rows * matrix.columns);
  in.read(reinterpret_cast<char*>(matrix.data.data()),
          static_cast<std::streamsize>(matrix.data.size() * sizeof(float)));
  if (!in) throw std::runtime_error(path + " is cut short");
  return matrix;
}

void Check(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

int64_t PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

constexpr size_t kSmall = 8192;  // rows of a segment of a few drained tails

struct Bench {
  Matrix base, queries, truth;
  int k = 10;
  bool cpu = false;  // which clock
  std::unique_ptr<vecino::index::ShardIndex> index;
  std::shared_ptr<const vecino::index::IvfSegment> segment, with_graph;
  std::vector<std::shared_ptr<const vecino::index::IvfSegment>> small;
  Json built;

  void Build(const std::string& folder, size_t limit, int nlist, int threads, bool graph,
             const std::string& file, int small_segments);
  Json Answer(const Json& command);

  // A share of the rows, drawn once, and the k-th best score of each query among them.
  struct Filter {
    std::vector<uint64_t> allowed;  // empty: all rows
    std::vector<float> kth;
    std::shared_ptr<const vecino::index::PassingCodes> codes;
  };
  const Filter& FilterFor(double share, int k);
  std::map<std::pair<double, int>, Filter> filters;
};

const Bench::Filter& Bench::FilterFor(double share, int k) {
  using namespace vecino::index;
  const auto [at, is_new] = filters.try_emplace({share, k});
  Filter& filter = at->second;
  if (!is_new) return filter;
  const Tombstones none(segment->size());
  if (share < 1) {
    filter.allowed.assign((segment->size() + 63) / 64, 0);
    std::mt19937_64 random(7);
    std::bernoulli_distribution passes(share);
    for (int64_t i = 0; i < segment->size(); ++i) {
      if (passes(random)) filter.allowed[i / 64] |= uint64_t{1} << (i % 64);
    }
    filter.codes = PassingCodes::Make(*segment, filter.allowed.data());
  }
  for (size_t q = 0; q < queries.rows; ++q) {
    if (share >= 1) {
      filter.kth.push_back(truth.row(q)[k - 1]);
      continue;
    }
    TopK top(Metric::kInnerProduct, k);
    Check(segment->Search(queries.row(q), {.k = k, .exact = true}, none, filter.allowed.data(),
                          &top));
    filter.kth.push_back(top.Take().back().score);
  }
  return filter;
}

void Bench::Build(const std::string& folder, size_t limit, int nlist, int threads, bool graph,
                  const std::string& file, int small_segments) {
  using namespace vecino::index;
  base = ReadNpy(folder + "/base.npy", limit);
  queries = ReadNpy(folder + "/queries.npy");
  truth = ReadNpy(folder + "/truth_scores.npy");
  const auto go_on = [] { return absl::OkStatus(); };
  // As a server has them: rows in tails.
  const auto index_of = [&](size_t first, size_t end) {
    auto some = std::make_unique<ShardIndex>(ShardIndexOptions{
        Metric::kInnerProduct, static_cast<int>(base.columns), static_cast<int>(end - first)});
    for (size_t i = first; i < end; ++i) some->Add(i + 1, base.row(i));
    some->FreezeTail();
    return some;
  };
  if (base.rows <= kSmall * static_cast<size_t>(small_segments)) {
    throw std::runtime_error("too few rows for --small");
  }
  const size_t d = base.columns, rows = base.rows - kSmall * static_cast<size_t>(small_segments);
  index = index_of(0, rows);
  std::vector<std::unique_ptr<ShardIndex>> small_indexes;
  for (size_t i = rows; i < base.rows; i += kSmall) {
    small_indexes.push_back(index_of(i, i + kSmall));
  }
  base.data = {};
  const auto frozen = index->FreezeForDrain(1);

  const auto start = Clock::now();
  auto generation = TrainGeneration(*frozen, Metric::kInnerProduct, true, d,
                                    {.id = 1, .nlist = nlist, .threads = threads}, go_on);
  Check(generation.status());
  built["train_s"] = Seconds(start);
  const auto encode = Clock::now();
  auto made = IvfSegment::Build(*frozen, *generation, file, go_on, nullptr, threads);
  Check(made.status());
  segment = *made;
  built["encode_s"] = Seconds(encode);
  for (const auto& some : small_indexes) {
    auto part = IvfSegment::Build(*some->FreezeForDrain(1), *generation, "", go_on, nullptr);
    Check(part.status());
    small.push_back(*part);
  }
  const auto calibrate = Clock::now();
  auto calibration = CalibrateIvf({{segment.get()}}, kCalibrationQueries, 1, go_on, threads);
  Check(calibration.status());
  built["calibrate_s"] = Seconds(calibrate);
  built["build_seconds"] = Seconds(start);
  built["build_threads"] = threads;
  for (const auto& point : calibration->points) {
    built["calibration"].push_back({point.breadth, point.recall});
  }
  (*generation)->SetCalibration(*std::move(calibration));
  built["rows"] = rows;
  built["nlist"] = (*generation)->nlist();
  built["imbalance"] = segment->Imbalance();
  if (graph) {
    const auto link = Clock::now();
    auto links = BuildGraph(*segment, {}, kCalibrationQueries, 1, go_on);
    Check(links.status());
    built["graph_s"] = Seconds(link);
    for (const auto& point : (*links)->calibration().points) {
      built["graph_calibration"].push_back({point.breadth, point.recall});
    }
    with_graph = segment->WithGraph(*links);
  }
  const auto memory = (with_graph != nullptr ? with_graph : segment)->memory();
  const auto per_row = [&](int64_t bytes) { return double(bytes) / double(rows); };
  built["bytes_per_vector"] = per_row(memory.total());
  built["bytes_by_tier"] = {{"codes", per_row(memory.codes)},
                            {"rounded", per_row(memory.rounded)},
                            {"labels", per_row(memory.labels)},
                            {"vectors", per_row(memory.vectors)}};
  built["settings"] = Json::array();
  if (graph) {
    for (const int ef : {12, 16, 24, 32, 48, 64, 96, 128, 192, 256}) {
      built["settings"].push_back({{"ef", ef}});
    }
  } else {
    for (const int breadth : {8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024}) {
      built["settings"].push_back({{"breadth", breadth}, {"rerank", breadth < 128 ? 100 : 200}});
    }
  }
  built["peak_bytes"] = PeakBytes();
}

Json Bench::Answer(const Json& command) {
  using namespace vecino::index;
  SearchParams params;
  params.k = command.value("k", k);
  params.recall_target = command.value("recall", 0.95);
  params.nprobe = command.value("nprobe", 0);
  params.breadth = command.value("breadth", 0);
  params.rerank = command.value("rerank", 0);
  params.ef = command.value("ef", 0);
  const bool graph = command.value("graph", true) && with_graph != nullptr;
  const IvfSegment& searched = graph ? *with_graph : *segment;
  const Tombstones none(searched.size());
  const size_t count = std::min<size_t>(queries.rows, command.value("queries", queries.rows));

  const auto& [allowed, kth, codes] = FilterFor(command.value("filter", 1.0), params.k);
  const uint64_t* const passing = allowed.empty() ? nullptr : allowed.data();
  std::vector<IvfPart> parts = {
      {&searched, &none, passing, command.value("coded", false) ? codes.get() : nullptr}};
  const Tombstones none_of_small(kSmall);
  for (const auto& part : small) parts.push_back({part.get(), &none_of_small});
  for (size_t q = count - std::min<size_t>(count, 100); q < count; ++q) {  // warms up
    TopK top(Metric::kInnerProduct, params.k);
    Check(SearchIvf(parts, queries.row(q), params, &top, nullptr));
  }

  // Cold: other memory is read between searches. p50 and p99 leave it out, qps does not.
  const std::vector<uint64_t> others(command.value("cold", false) ? (size_t{64} << 17) : 0, 1);
  [[maybe_unused]] volatile uint64_t sum = 0;  // so that it is read
  std::vector<double> times;
  int64_t found = 0;
  IvfWork work;
  const double start = Now(cpu);
  for (size_t q = 0; q < count; ++q) {
    sum = std::accumulate(others.begin(), others.end(), uint64_t{0});
    const double begin = Now(cpu);
    TopK top(Metric::kInnerProduct, params.k);
    Check(SearchIvf(parts, queries.row(q), params, &top, &work));
    const auto hits = top.Take();
    times.push_back((Now(cpu) - begin) * 1e6);
    for (const Hit& hit : hits) found += hit.score >= kth[q] - 1e-6f;
  }
  const double seconds = Now(cpu) - start;
  // All queries on each of several threads, by the wall clock.
  double together = 0;
  if (const int threads = command.value("threads", 1); threads > 1) {
    std::latch ready(threads);
    std::vector<std::thread> searchers;
    const auto begin = Clock::now();
    for (int t = 0; t < threads; ++t) {
      searchers.emplace_back([&] {
        ready.arrive_and_wait();
        for (size_t q = 0; q < count; ++q) {
          TopK top(Metric::kInnerProduct, params.k);
          Check(SearchIvf(parts, queries.row(q), params, &top, nullptr));
        }
      });
    }
    for (std::thread& searcher : searchers) searcher.join();
    together = threads * double(count) / Seconds(begin);
  }
  std::sort(times.begin(), times.end());
  return {{"recall", double(found) / double(count * size_t(params.k))},
          {"qps", double(count) / seconds},
          {"p50", times[times.size() / 2]},
          {"p99", times[times.size() * 99 / 100]},
          {"nprobe", work.nprobe},
          {"qps_threads", together},
          {"scanned", double(work.scanned) / double(count)},
          {"graph", graph && allowed.empty()}};
}

}  // namespace

int main(int argc, char** argv) try {
  std::string file;
  std::vector<std::string> places;
  size_t limit = SIZE_MAX;
  int nlist = 0, threads = 1, small_segments = 0;
  bool graph = false;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    const bool more = i + 1 < argc;
    if (arg == "--graph") {
      graph = true;
    } else if (arg == "--limit" && more) {
      limit = std::stoull(argv[++i]);
    } else if (arg == "--nlist" && more) {
      nlist = std::stoi(argv[++i]);
    } else if (arg == "--threads" && more) {
      threads = std::stoi(argv[++i]);
    } else if (arg == "--small" && more) {
      small_segments = std::stoi(argv[++i]);
    } else if (arg == "--file" && more) {
      file = argv[++i];
    } else {
      places.push_back(arg);
    }
  }
  if (places.empty() || places.size() > 3 || places[0].starts_with("-")) {
    std::cerr
        << "usage: index_bench [--limit ROWS] [--graph] [--nlist N] [--threads N] [--small N] "
           "[--file PATH] FOLDER [K] [wall|cpu]\n";
    return 2;
  }
  Bench bench;
  if (places.size() > 1) bench.k = std::stoi(places[1]);
  bench.cpu = places.size() > 2 && places[2] == "cpu";
  bench.Build(places[0], limit, nlist, threads, graph, file, small_segments);
  std::cout << bench.built.dump() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const size_t json = line.find('{');
    if (json == std::string::npos) continue;
    std::cout << bench.Answer(Json::parse(line.substr(json))).dump() << std::endl;
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "index_bench: " << error.what() << "\n";
  return 1;
}
