// vecino collection tune NAME [-k N] [--filter …] [--queries FILE | --samples N] [--recall R]
// [--dry-run]
#include <chrono>
#include <iostream>
#include <memory>
#include <string>

#include "client/cli/context.h"
#include "client/cli/operation_text.h"
#include "client/cli/operation_wait.h"
#include "client/cli/query_file.h"
#include "client/cli/recall_text.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct Arguments {
  std::string collection;
  std::string query_file;
  TuningOptions options;
  bool dry_run = false;
  bool wait = false;
};

int Run(Context& context, Arguments& arguments) {
  if (!arguments.query_file.empty()) {
    const std::string error = ReadQueryFile(arguments.query_file, &arguments.options.queries);
    if (!error.empty()) return UsageError(error);
  }
  // The server embeds the texts of a file before it answers.
  Client& client =
      arguments.query_file.empty() ? context.client() : context.client(std::chrono::minutes(10));
  const Result<Operation> started =
      client.TuneIndex(arguments.collection, arguments.options, arguments.dry_run);
  return FollowOperation(context, started,
                         {.what = "tune " + arguments.collection,
                          .dry_run = arguments.dry_run,
                          .wait = arguments.wait,
                          .status_command = ""},
                         [](const Operation& done) {
                           if (done.tuning) PrintTuning(std::cout, *done.tuning, TableWidth());
                           PrintOutcomes(done);
                           return 0;
                         });
}

}  // namespace

void AddTuneCommand(CLI::App* group, Context& context) {
  CLI::App* command = group->add_subcommand(
      "tune", "Measure recall and time from narrow to wide searches, and have the index go by it");
  const auto arguments = std::make_shared<Arguments>();
  TuningOptions& options = arguments->options;
  command->add_option("NAME", arguments->collection)->required();
  CLI::Option* file =
      command->add_option("--queries", arguments->query_file,
                          "File with a text or a JSON array on each line, - for stdin; without it "
                          "callers' latest queries and stored documents");
  command->add_option("--samples", options.queries.samples, "Queries to take (default 500)")
      ->check(CLI::Range(1, 2'000))
      ->excludes(file);
  command->add_option("-k,--top-k", options.top_k, "Documents to look for (default 10)");
  command->add_option("--filter", options.filter, "Only documents whose metadata it lets pass");
  command->add_option("--recall", options.recall_target,
                      "Recall to find the cheapest setting for (default: the collection's)");
  command->add_option("--shards", options.shards, "Numbers of shards, by commas (default: all)")
      ->delimiter(',');
  command->add_flag("--dry-run", arguments->dry_run, "Say what it would take, and start nothing");
  CLI::Option* wait = command->add_flag("--wait,!--no-wait", arguments->wait,
                                        "Wait until it is done (default: on a terminal)");
  command->callback([&context, arguments, wait] {
    if (wait->count() == 0) arguments->wait = StderrIsTerminal();
    context.command = [&context, arguments] { return Run(context, *arguments); };
  });
}

}  // namespace vecino::cli
