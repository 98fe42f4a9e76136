#include "client/cli/operation_wait.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <thread>

#include "client/cli/operation_text.h"
#include "client/cli/terminal.h"

namespace vecino::cli {

std::string OperationName(const Operation& operation) {
  return std::string(OperationTypeName(operation.type)) + " " + Printable(operation.collection);
}

namespace {

using Clock = std::chrono::steady_clock;

// One line that is redrawn on a terminal; elsewhere a line whenever the stages change.
class WaitLine {
 public:
  ~WaitLine() { Clear(); }

  void Show(const Operation& operation) {
    const std::string progress = OperationProgress(operation);
    if (!StderrIsTerminal()) {
      if (progress != last_) std::cerr << OperationName(operation) << ": " << progress << '\n';
      last_ = progress;
      return;
    }
    const std::string line =
        OperationName(operation) + "  " + ClockTime(Clock::now() - start_) + "  " + progress;
    std::fprintf(stderr, "\r\033[K%s",
                 CutToWidth(Printable(line), TerminalWidth(STDERR_FILENO) - 1).c_str());
    drawn_ = true;
  }
  void Clear() {
    if (drawn_) std::fputs("\r\033[K", stderr);
    drawn_ = false;
  }

 private:
  const Clock::time_point start_ = Clock::now();
  std::string last_;
  bool drawn_ = false;
};

}  // namespace

Result<Operation> WaitUntilDone(Context& context, Operation operation) {
  const std::chrono::milliseconds pace(StderrIsTerminal() ? 500 : 2'000);
  WaitLine line;
  while (!operation.done) {
    line.Show(operation);
    const Clock::time_point next = Clock::now() + pace;
    Result<Operation> now =
        context.client().WaitOperation(operation.collection, operation.id, pace);
    if (!now.ok()) return now.status();
    operation = *now;
    if (!operation.done) std::this_thread::sleep_until(next);
  }
  return operation;
}

int PrintEstimate(const Context& context, const Operation& operation) {
  if (context.json || !operation.estimate) {
    std::cout << OneLine(OperationJson(operation)) << '\n';
    return 0;
  }
  const OperationEstimate& estimate = *operation.estimate;
  std::cout << OperationName(operation) << " would take about " << Duration(estimate.duration)
            << '\n'
            << "  rows          " << WithCommas(estimate.rows) << '\n'
            << "  dead rows     " << WithCommas(estimate.deleted_rows) << ", dropped\n"
            << "  index         " << Bytes(estimate.index_bytes) << '\n'
            << "  extra memory  " << Bytes(estimate.peak_bytes) << " while it runs\n";
  return 0;
}

int FollowOperation(Context& context, const Result<Operation>& started,
                    const FollowOptions& options,
                    const std::function<int(const Operation&)>& print_done) {
  if (!started.ok()) return context.Fail(options.what, started.status());
  if (options.dry_run) return PrintEstimate(context, *started);
  Operation operation = *started;
  if (options.wait) {
    const Result<Operation> done = WaitUntilDone(context, operation);
    if (!done.ok()) return context.Fail("wait for " + options.what, done.status());
    operation = *done;
  }
  int code = 0;
  if (context.json) {
    std::cout << OneLine(OperationJson(operation)) << '\n';
  } else if (operation.done) {
    code = print_done(operation);
  } else {
    std::cout << OperationName(operation) << " runs: vecino ";
    if (options.status_command.empty()) {
      std::cout << "operation get " << Printable(operation.collection) << ' ' << operation.id;
    } else {
      std::cout << options.status_command << ' ' << Printable(operation.collection);
    }
    std::cout << '\n';
  }
  return operation.status.ok() ? code : context.Fail(options.what, operation.status);
}

void PrintOutcomes(const Operation& operation) {
  for (const OperationShard& shard : operation.shards) {
    if (shard.outcome.empty()) continue;
    std::string line = "  shard " + std::to_string(shard.shard) + ": " + shard.outcome;
    if (const std::string figures = OutcomeFigures(shard); !figures.empty()) line += "; " + figures;
    if (!shard.reason.empty()) line += "; " + shard.reason;
    std::cout << Printable(line) << '\n';
  }
}

}  // namespace vecino::cli
