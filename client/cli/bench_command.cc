#include "client/cli/bench_command.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "client/cli/format.h"
#include "client/cli/index_bench.h"
#include "client/cli/interrupt.h"
#include "client/cli/plot.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

constexpr double kGoodRecall = 0.95;  // of the best that is named: the server's default target

struct Arguments {
  BenchOptions bench;
  std::string plot_file;  // empty: no plot
};

std::string Decimal(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

void PrintJson(const BenchReport& report) {
  for (const BenchKind& kind : report.kinds) {
    for (const BenchPoint& point : kind.points) {
      std::cout << OneLine({{"kind", kind.kind},
                            {"setting", point.setting},
                            {"recall", point.recall},
                            {"qps", point.qps},
                            {"p50_ms", point.p50.count() * 1e3},
                            {"p99_ms", point.p99.count() * 1e3},
                            {"code_bytes_per_vector", kind.code_bytes},
                            {"memory_bytes_per_vector", kind.memory_bytes},
                            {"upsert_seconds", kind.upsert_time.count()},
                            {"build_seconds", kind.build_time.count()},
                            {"segments", kind.segments},
                            {"rows", report.rows},
                            {"queries", report.queries}})
                << '\n';
    }
  }
}

void PrintTable(const BenchOptions& options, const BenchReport& report) {
  if (report.kinds.empty()) return;
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"KIND"},
               {"SETTING"},
               {"RECALL", kRight},
               {"QPS", kRight},
               {"P50 MS", kRight},
               {"P99 MS", kRight},
               {"CODE B/VEC", kRight},
               {"ALL B/VEC", kRight},
               {"WRITE S", kRight},
               {"BUILD S", kRight},
               {"SEGMENTS"}});
  for (const BenchKind& kind : report.kinds) {
    for (const BenchPoint& point : kind.points) {
      table.AddRow({kind.kind, point.setting, Decimal("%.4f", point.recall),
                    WithCommas(static_cast<int64_t>(point.qps)),
                    Decimal("%.2f", point.p50.count() * 1e3),
                    Decimal("%.2f", point.p99.count() * 1e3), Decimal("%.0f", kind.code_bytes),
                    Decimal("%.0f", kind.memory_bytes), Decimal("%.2f", kind.upsert_time.count()),
                    Decimal("%.2f", kind.build_time.count()), kind.segments});
    }
  }
  std::cout << Printable(options.collection) << ": " << WithCommas(report.rows) << " vectors, "
            << WithCommas(report.queries) << " others as queries, k = " << options.top_k
            << ", one client\n\n";
  table.Print(std::cout, TableWidth());
  const BenchBest best = BestAt(report.kinds, kGoodRecall);
  if (best.point == nullptr) {
    std::cout << "\nNo setting reaches a recall of .95.\n";
    return;
  }
  std::cout << "\nBest at a recall of .95 or more: " << best.kind->kind << ", "
            << best.point->setting << " (" << WithCommas(static_cast<int64_t>(best.point->qps))
            << " queries/s, recall " << Decimal("%.3f", best.point->recall) << ", "
            << Decimal("%.0f", best.kind->memory_bytes) << " bytes a vector)\n";
}

// False when it cannot be written.
bool WritePlot(const Arguments& arguments, const BenchReport& report) {
  std::vector<PlotCurve> curves;
  for (const BenchKind& kind : report.kinds) {
    curves.push_back({.name = kind.kind, .points = {}});
    for (const BenchPoint& point : kind.points) {
      curves.back().points.push_back({.recall = point.recall, .qps = point.qps});
    }
  }
  std::ofstream file(arguments.plot_file, std::ios::trunc);
  file << RecallPlotSvg(arguments.bench.collection + ": " + WithCommas(report.rows) +
                            " vectors, k = " + std::to_string(arguments.bench.top_k),
                        curves);
  file.close();
  return !file.fail();
}

int Run(Context& context, const Arguments& arguments) {
  const BenchOptions& options = arguments.bench;
  // Before the work rather than after it. An older plot stays until there is a new one.
  std::error_code ignored;
  const bool new_plot =
      !arguments.plot_file.empty() && !std::filesystem::exists(arguments.plot_file, ignored);
  if (!arguments.plot_file.empty() && !std::ofstream(arguments.plot_file, std::ios::app)) {
    return UsageError("cannot write " + Printable(arguments.plot_file));
  }
  // The first signal ends the work and deletes what was made. A closed pipe ends nothing, so that
  // nothing is left behind; main() tells of it.
  CatchInterrupt({SIGINT, SIGTERM, SIGHUP});
  std::signal(SIGPIPE, SIG_IGN);
  const BenchReport report =
      RunBench(context.client(std::chrono::seconds(120)), options, Interrupted(),
               [](const std::string& line) { std::cerr << Printable(line) << '\n'; });
  if (context.json) {
    PrintJson(report);
  } else {
    PrintTable(options, report);
  }
  int code = 0;
  if (report.kinds.empty()) {
    if (new_plot) std::filesystem::remove(arguments.plot_file, ignored);
  } else if (!arguments.plot_file.empty() && !WritePlot(arguments, report)) {
    code = UsageError("cannot write " + Printable(arguments.plot_file));
  }
  if (!report.left.empty()) {
    std::cerr << "vecino: " << report.left << " was not deleted: " << report.cleanup.ToString()
              << "\nDelete it with: vecino collection delete " << report.left << '\n';
  }
  if (!report.status.ok()) return context.Fail(report.failed, report.status);
  if (report.interrupted) return kInterrupted;
  return report.left.empty() ? code : kServerSaidNo;
}

}  // namespace

void AddBenchCommand(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "bench", "Compare the kinds of indexes on a collection's own vectors, in temporary copies");
  const auto arguments = std::make_shared<Arguments>();
  BenchOptions& bench = arguments->bench;
  command->add_option("NAME", bench.collection, "Collection")->required();
  command
      ->add_option("--kinds", bench.kinds,
                   "By commas (default: auto,flat,ivf-flat,ivf-sq8,ivf-pq,hnsw,lsh)")
      ->delimiter(',')
      ->check(CLI::IsMember(BenchKinds()));
  command->add_option("--rows", bench.rows, "Documents to read, at most (default 20000)")
      ->check(CLI::Range(1, 100'000'000));
  command->add_option("--queries", bench.queries, "Of these, held out as queries (default 200)")
      ->check(CLI::Range(1, 100'000));
  command->add_option("-k,--top-k", bench.top_k, "Documents a query finds (default 10)")
      ->check(CLI::Range(1, 1'000));
  command->add_option("--plot", arguments->plot_file,
                      "Write speed against recall to this SVG file");
  command->add_flag("--keep", bench.keep, "Leave the temporary collections NAME-bench-KIND");
  command->callback([&context, arguments] {
    auto& kinds = arguments->bench.kinds;
    std::vector<std::string> once;
    for (const std::string& kind : kinds) {
      if (std::find(once.begin(), once.end(), kind) == once.end()) once.push_back(kind);
    }
    kinds = once;
    context.command = [&context, arguments] { return Run(context, *arguments); };
  });
}

}  // namespace vecino::cli
