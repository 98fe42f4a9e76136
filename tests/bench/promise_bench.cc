// Whether the recall that is asked for is found, and what it costs beside the best fixed setting.
//
//   promise_bench [--sets demo,dictionary,clustered,gaussian] [--rows 100000] [--queries 2000]
//                 [--data ~/.cache/vecino/bench] [--threads 1] [--swept 400]
//
// `demo` and `dictionary` are read from DATA/SET/base.npy and queries.npy (make_minilm.py --texts;
// with --limit ROWS they stand in a folder below, which is taken when it is there); the other two
// are made here, of any number of rows: with --rows 600000 lists answer the filter that lets 1%
// pass, too. Queries are never rows.
//
// For each share that a filter lets pass, k and target it prints the recall of all queries and how
// it was found: `lists`; `all` rows that pass compared, because the planner thinks that cheaper; or
// `exact`, where so few rows pass, or so large a part of them is wanted, that every search compares
// all, whatever it is told. There recall is 1 by construction, and only the cost says anything.
// Then what the search looked at (lists of a typical query, rows of lists, rows by 8 bits), what
// that costs by SearchCost, and microseconds of this thread's processor. Beside it stands the best
// of many fixed settings (lists with and without the probe rule, each with several numbers of rows
// scored again, and all rows by 8 bits), found with the first --swept queries (twice as many for k
// = 1, half for k = 100) and interpolated:
//
//   fixed us  cost by SearchCost of the cheapest that finds as much recall as the search did
//   ratio     the search's cost in multiples of that
//   measured  the same of microseconds, beside the setting that takes the fewest
//   over      the search's cost in multiples of the cheapest that finds the target itself: what the
//             calibration's margin for chance costs, too
//
// A cell is MISSED when recall < target − .01, DEAR when ratio > 1.15, and over its MARGIN when
// only `over` > 1.15. Microseconds are not judged: they move with the machine. Exits with 1 unless
// every cell is ok.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
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
using vecino::index::PromiseSweep;
using vecino::index::SearchParams;

constexpr double kAllowed = 0.01, kMostCost = vecino::index::kMostPromiseCost;

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

struct Sum {
  int cells = 0, exact = 0, missed = 0, dear = 0, margin = 0;
  double least = std::numeric_limits<double>::infinity();  // recall beyond the target
  double ratio = 0, measured = 0, over = 0;                // the greatest
  double all_over = 0;                                     // the sum
};

size_t Swept(const Promise& promise, const Options& options, int k) {
  const size_t wanted = k == 1 ? 2 * options.swept : k >= 100 ? options.swept / 2 : options.swept;
  return std::clamp<size_t>(wanted, 1, promise.queries());
}

// The cells of one filter and k.
void RunTargets(const std::string& set, const Promise& promise, double share, int k,
                const Options& options, Sum* sum) {
  constexpr std::array<double, 3> kTargets = {0.9, 0.95, 0.99};
  // What costs more by the model may take less time.
  constexpr double kFurther = 1.5;
  const size_t queries = Swept(promise, options, k);
  std::vector<PromiseAnswer> answers;
  double most_recall = kTargets.back(), most_cost = 0;
  for (const double target : kTargets) {
    answers.push_back(promise.Ask({.k = k, .recall_target = target}, queries));
    most_recall = std::max(most_recall, answers.back().recall);
    most_cost = std::max(most_cost, answers.back().cost);
  }
  const PromiseSweep sweep =
      vecino::index::Sweep(promise, k, most_recall, kFurther * most_cost, queries);
  for (size_t i = 0; i < kTargets.size(); ++i) {
    const double target = kTargets[i];
    const PromiseAnswer& swept = answers[i];
    const PromiseAnswer answer = promise.Ask({.k = k, .recall_target = target}, promise.queries());
    const double fixed = Cheapest(sweep, swept.recall, &PromiseAnswer::cost);
    const double ratio = swept.cost / fixed;
    const double measured = swept.micros / Cheapest(sweep, swept.recall, &PromiseAnswer::micros);
    const double over = swept.cost / Cheapest(sweep, target, &PromiseAnswer::cost);
    const bool missed = answer.recall < target - kAllowed;
    const bool dear = ratio > kMostCost, margin = !dear && over > kMostCost;
    ++sum->cells;
    sum->exact += sweep.exact;
    sum->missed += missed;
    sum->dear += dear;
    sum->margin += margin;
    sum->least = std::min(sum->least, answer.recall - target);
    sum->ratio = std::max(sum->ratio, ratio);
    sum->measured = std::max(sum->measured, measured);
    sum->over = std::max(sum->over, over);
    sum->all_over += over;
    std::printf(
        "%-11s %6g %4d %6g | %7.4f %-5s %7.1f %8.0f %8.0f %7.1f %7.1f | %8.1f %6.2f %8.2f %6.2f "
        "%s\n",
        set.c_str(), share, k, target, answer.recall,
        sweep.exact           ? "exact"
        : answer.breadth == 0 ? "all"
                              : "lists",
        answer.breadth, answer.scanned, answer.reranked + answer.compared, answer.cost / 1e3,
        answer.micros, fixed / 1e3, ratio, measured, over,
        missed   ? "MISSED"
        : dear   ? "DEAR"
        : margin ? "MARGIN"
                 : "ok");
    std::fflush(stdout);
  }
}

void Run(const std::string& set, const Options& options, Sum* sum) {
  Promise promise(Load(set, options), options.threads);
  std::printf(
      "%s: %lld rows, %zu queries, %d lists; trained in %.1f s, encoded %.1f, calibrated "
      "%.1f (this thread's CPU)\n",
      set.c_str(), static_cast<long long>(promise.rows()), promise.queries(),
      promise.generation().nlist(), promise.train_seconds, promise.encode_seconds,
      promise.calibrate_seconds);
  std::printf("%-11s %6s %4s %6s | %7s %-5s %7s %8s %8s %7s %7s | %8s %6s %8s %6s\n", "set",
              "share", "k", "target", "recall", "by", "breadth", "lists'", "8 bits", "cost us",
              "CPU us", "fixed us", "ratio", "measured", "over");
  for (const double share : {1.0, 0.5, 0.1, 0.01, 0.001}) {
    promise.Filter(share);
    for (const int k : {1, 10, 100}) {
      if (promise.passing() >= k) RunTargets(set, promise, share, k, options, sum);
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
      "%d cells, %d of them exact by construction: %d below target - %.2f (the least %+.4f from "
      "its "
      "target); %d dearer than %.2f times the best fixed setting of the same recall (the dearest "
      "%.2f, in measured time %.2f); %d more dearer than that beside the best that reaches the "
      "target (the dearest %.2f, the mean %.2f)\n",
      sum.cells, sum.exact, sum.missed, kAllowed, sum.least, sum.dear, kMostCost, sum.ratio,
      sum.measured, sum.margin, sum.over, sum.all_over / std::max(sum.cells, 1));
  return sum.missed + sum.dear + sum.margin == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << "promise_bench: " << error.what() << "\n";
  return 2;
}
