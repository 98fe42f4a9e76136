// Whether the recall that is asked for is found, and what it costs beside the best fixed setting.
//
//   promise_bench [--sets demo,dictionary,clustered,gaussian] [--rows 100000] [--queries 2000]
//                 [--data ~/.cache/vecino/bench] [--threads 1] [--swept 400]
//
// `demo` and `dictionary` are read from DATA/SET/base.npy and queries.npy (make_minilm.py --texts;
// with --limit ROWS they stand in a folder below, which is taken when it is there); the other two
// are made here. Queries are never rows.
//
// For each share that a filter lets pass, k and target it prints the recall of all queries, what
// the search looked at (lists of a typical query, rows of lists, rows by 8 bits), what that costs
// by SearchCost, and beside it the cheapest of many fixed settings (lists with and without the
// probe rule, each with several numbers of rows scored again, and all rows by 8 bits) at the same
// recall of the same queries, between settings interpolated. A cell passes when recall ≥ target −
// .01 and cost ≤ 1.15 times that.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/server/index/promise.h"

namespace {

using vecino::index::Promise;
using vecino::index::PromiseAnswer;
using vecino::index::PromiseData;
using vecino::index::SearchParams;

constexpr double kAllowed = 0.01, kMostCost = 1.15;

// Appends up to `limit` rows of a version 1 .npy file of little-endian float32 in C order.
size_t ReadNpy(const std::string& path, size_t limit, std::vector<float>* rows) {
  std::ifstream in(path, std::ios::binary);
  char head[10];
  if (!in.read(head, 10) || std::memcmp(head, "\x93NUMPY\x01", 7) != 0) {
    throw std::runtime_error(path + " is not a version 1 npy file");
  }
  std::string header(static_cast<unsigned char>(head[8]) | static_cast<unsigned char>(head[9]) << 8,
                     ' ');
  in.read(header.data(), static_cast<std::streamsize>(header.size()));
  size_t n = 0, d = 0;
  if (header.find("'<f4'") == std::string::npos || header.find("True") != std::string::npos ||
      std::sscanf(header.c_str() + header.find("'shape': (") + 10, "%zu, %zu", &n, &d) != 2) {
    throw std::runtime_error(path + " does not hold float32 rows");
  }
  n = std::min(n, limit);
  const size_t before = rows->size();
  rows->resize(before + n * d);
  in.read(reinterpret_cast<char*>(rows->data() + before),
          static_cast<std::streamsize>(n * d * sizeof(float)));
  if (!in) throw std::runtime_error(path + " is cut short");
  return d;
}

struct Options {
  std::vector<std::string> sets = {"demo", "dictionary", "clustered", "gaussian"};
  size_t rows = 100'000, queries = 2'000, swept = 400;
  std::string data;
  int threads = 1;
};

PromiseData Load(const std::string& set, const Options& options) {
  if (set == "clustered") {
    return PromiseData::Make(options.rows, options.queries, 256, 24, 400, 11);
  }
  if (set == "gaussian") return PromiseData::Make(options.rows, options.queries, 128, 128, 0, 12);
  std::string folder = options.data + "/" + set;
  if (!std::filesystem::exists(folder + "/base.npy")) {
    for (const auto& below : std::filesystem::directory_iterator(folder)) {
      if (std::filesystem::exists(below.path() / "base.npy")) folder = below.path();
    }
  }
  PromiseData data;
  data.d = ReadNpy(folder + "/base.npy", options.rows, &data.rows);
  ReadNpy(folder + "/queries.npy", options.queries, &data.queries);
  return data;
}

// Settings that differ in one number: recall and cost rise.
using Chain = std::vector<PromiseAnswer>;

std::vector<Chain> Sweep(const Promise& promise, int k, double most, size_t queries) {
  const bool few = promise.passing() < promise.generation().calibration().rows / 12;
  std::vector<int> reranks = k == 1    ? std::vector<int>{30, 100, 300}
                             : k == 10 ? std::vector<int>{50, 100, 200, 400, 1500}
                                       : std::vector<int>{250, 500, 1000, 2500};
  if (few) reranks.insert(reranks.begin(), 0);
  std::vector<Chain> chains;
  for (const bool rule : {false, true}) {
    for (const int rerank : reranks) {
      Chain chain;
      for (double lists = 2;; lists *= 1.5) {
        SearchParams params{.k = k, .rerank = rerank};
        const int number = static_cast<int>(std::min<double>(lists, promise.generation().nlist()));
        (rule ? params.breadth : params.nprobe) = number;
        chain.push_back(promise.Ask(params, queries));
        if (chain.back().recall >= most || number == promise.generation().nlist()) break;
        // Codes lose the rest.
        if (chain.size() > 2 && chain.back().recall > 0.5 &&
            chain.back().recall < chain[chain.size() - 3].recall + 0.0005) {
          break;
        }
      }
      chains.push_back(chain);
    }
  }
  return chains;
}

// The least cost of the recall, and of the setting's rows.
std::pair<double, double> Cheapest(const std::vector<Chain>& chains, double recall, double of_all,
                                   double all) {
  std::pair<double, double> least = {of_all, all};
  for (const Chain& chain : chains) {
    for (size_t i = 0; i < chain.size(); ++i) {
      if (chain[i].recall < recall) continue;
      double cost = chain[i].cost, rows = chain[i].scanned;
      if (i > 0 && chain[i].recall > chain[i - 1].recall) {
        const double part =
            (recall - chain[i - 1].recall) / (chain[i].recall - chain[i - 1].recall);
        cost = chain[i - 1].cost * std::pow(cost / chain[i - 1].cost, part);
        rows = chain[i - 1].scanned * std::pow(rows / std::max(1.0, chain[i - 1].scanned), part);
      }
      if (cost < least.first) least = {cost, rows};
      break;
    }
  }
  return least;
}

struct Sum {
  int cells = 0, missed = 0, dear = 0;
  double least = std::numeric_limits<double>::infinity(), ratio = 0, over = 0;
};

void Run(const std::string& set, const Options& options, Sum* sum) {
  Promise promise(Load(set, options), options.threads);
  const auto& calibration = promise.generation().calibration();
  std::printf(
      "%s: %lld rows, %zu queries, %d lists; trained in %.1f s, encoded %.1f, calibrated "
      "%.1f (this thread's CPU)\n",
      set.c_str(), static_cast<long long>(calibration.rows), promise.queries(),
      promise.generation().nlist(), promise.train_seconds, promise.encode_seconds,
      promise.calibrate_seconds);
  std::printf("%-11s %6s %4s %6s | %7s %7s %8s %8s %7s %7s | %8s %6s %6s\n", "set", "share", "k",
              "target", "recall", "breadth", "lists'", "8 bits", "cost us", "CPU us", "fixed us",
              "ratio", "over");
  for (const double share : {1.0, 0.5, 0.1, 0.01, 0.001}) {
    promise.Filter(share);
    const auto all = static_cast<double>(promise.passing());
    for (const int k : {1, 10, 100}) {
      if (promise.passing() < 2 * k) continue;
      std::vector<Chain> chains;
      for (const double target : {0.9, 0.95, 0.99}) {
        const SearchParams params{.k = k, .recall_target = target};
        const PromiseAnswer answer = promise.Ask(params, promise.queries());
        const PromiseAnswer swept = promise.Ask(params, std::min(options.swept, promise.queries()));
        const double of_all = all * vecino::index::SearchCost::kAllRows;
        // Where all that pass are compared anyway, fixed settings do it, too.
        const bool forced =
            promise.passing() <= vecino::index::kGather || 8 * k >= promise.passing();
        if (chains.empty() && !forced) {
          chains = Sweep(promise, k, 0.9995, std::min(options.swept, promise.queries()));
        }
        const auto [cost, rows] = Cheapest(chains, swept.recall, of_all, all);
        const double ratio = swept.cost / cost;
        // What the margin costs: beside the cheapest that reaches the target itself.
        const double over = swept.cost / Cheapest(chains, target, of_all, all).first;
        const bool found = answer.recall >= target - kAllowed, cheap = ratio <= kMostCost;
        ++sum->cells;
        sum->missed += !found;
        sum->dear += !cheap;
        sum->least = std::min(sum->least, answer.recall - target);
        sum->ratio = std::max(sum->ratio, ratio);
        sum->over += over;
        std::printf(
            "%-11s %6g %4d %6g | %7.4f %7.1f %8.0f %8.0f %7.1f %7.1f | %8.1f %6.2f %6.2f %s\n",
            set.c_str(), share, k, target, answer.recall, answer.breadth, answer.scanned,
            answer.reranked + answer.compared, answer.cost / 1e3, answer.micros, cost / 1e3, ratio,
            over,
            found && cheap ? "ok"
            : found        ? "DEAR"
                           : "MISSED");
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  const char* cache = std::getenv("VECINO_CACHE");
  const char* home = std::getenv("HOME");
  options.data = (cache != nullptr ? std::string(cache)
                                   : std::string(home != nullptr ? home : ".") + "/.cache/vecino") +
                 "/bench";
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) throw std::runtime_error(name + " needs a value");
    const std::string value = argv[i + 1];
    if (name == "--sets") {
      options.sets.clear();
      std::istringstream in(value);
      for (std::string set; std::getline(in, set, ',');) options.sets.push_back(set);
    } else if (name == "--rows") {
      options.rows = std::stoull(value);
    } else if (name == "--queries") {
      options.queries = std::stoull(value);
    } else if (name == "--swept") {
      options.swept = std::stoull(value);
    } else if (name == "--threads") {
      options.threads = std::stoi(value);
    } else if (name == "--data") {
      options.data = value;
    } else {
      throw std::runtime_error("no such option: " + name);
    }
  }
  Sum sum;
  for (const std::string& set : options.sets) Run(set, options, &sum);
  std::printf(
      "%d cells: %d below target - %.2f (the least %+.4f from its target), %d dearer than "
      "%.2f times the best fixed setting (the dearest %.2f); %.2f times the best fixed "
      "setting that reaches the target, the mean\n",
      sum.cells, sum.missed, kAllowed, sum.least, sum.dear, kMostCost, sum.ratio,
      sum.over / sum.cells);
  return sum.missed + sum.dear == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << "promise_bench: " << error.what() << "\n";
  return 2;
}
