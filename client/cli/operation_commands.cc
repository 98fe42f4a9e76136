// vecino collection retrain|compact, vecino operation list|show|wait|cancel
#include <iostream>

#include "client/cli/context.h"
#include "client/cli/operation_text.h"
#include "client/cli/operation_wait.h"
#include "client/cli/recall_text.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct StartArguments {
  Operation::Type type = Operation::Type::kRetrain;
  std::string collection;
  std::vector<int> shards;
  bool dry_run = false;
  double min_recall = 0;
  bool wait = false;
};

int Start(Context& context, const StartArguments& arguments) {
  const bool retrain = arguments.type == Operation::Type::kRetrain;
  const Result<Operation> started =
      retrain ? context.client().RetrainIndex(arguments.collection, arguments.shards,
                                              arguments.dry_run, arguments.min_recall)
              : context.client().CompactIndex(arguments.collection, arguments.shards,
                                              arguments.dry_run);
  const auto print_done = [&](const Operation& done) {
    if (done.status.ok()) {
      std::cout << (retrain ? "retrained " : "compacted ") << Printable(done.collection) << ": "
                << WithCommas(static_cast<int64_t>(done.shards.size())) << " shards in "
                << Duration(done.end_time - done.create_time) << '\n';
    }
    PrintOutcomes(done);
    return 0;
  };
  return FollowOperation(
      context, started,
      {.what = std::string(OperationTypeName(arguments.type)) + " " + arguments.collection,
       .dry_run = arguments.dry_run,
       .wait = arguments.wait,
       .status_command = ""},
      print_done);
}

void PrintOperation(const Context& context, const Operation& operation) {
  if (context.json) {
    std::cout << OneLine(OperationJson(operation)) << '\n';
    return;
  }
  std::cout << operation.id << '\n'
            << "  does     " << OperationName(operation) << '\n'
            << "  state    " << OperationState(operation) << '\n'
            << "  created  " << Rfc3339(operation.create_time) << '\n';
  if (operation.done) {
    std::cout << "  ended    " << Rfc3339(operation.end_time) << ", after "
              << Duration(operation.end_time - operation.create_time) << '\n';
  }
  if (!operation.status.ok()) {
    std::cout << "  error    " << Printable(operation.status.ToString()) << '\n';
  }
  std::cout << '\n';
  Table table({{"SHARD", Table::Align::kRight},
               {"ROWS DONE", Table::Align::kRight},
               {"OF", Table::Align::kRight},
               {"STAGE"}});
  for (const OperationShard& shard : operation.shards) {
    table.AddRow({std::to_string(shard.shard), WithCommas(shard.rows_done),
                  shard.rows_total > 0 ? WithCommas(shard.rows_total) : "-",
                  shard.status.ok() ? shard.stage : shard.stage + ": " + shard.status.message()});
  }
  table.Print(std::cout, TableWidth());
  if (operation.tuning) {
    std::cout << '\n';
    PrintTuning(std::cout, *operation.tuning, TableWidth());
  }
  PrintOutcomes(operation);
}

int ListAll(Context& context, const std::string& collection) {
  const Result<std::vector<Operation>> operations = context.client().ListOperations(collection);
  if (!operations.ok()) {
    return context.Fail("list operations of " + collection, operations.status());
  }
  Table table({{"ID"}, {"TYPE"}, {"STATE"}, {"CREATED"}, {"ENDED"}, {"PROGRESS"}});
  for (const Operation& operation : *operations) {
    if (context.json) {
      std::cout << OneLine(OperationJson(operation)) << '\n';
      continue;
    }
    table.AddRow({operation.id, std::string(OperationTypeName(operation.type)),
                  std::string(OperationState(operation)), Rfc3339(operation.create_time),
                  Rfc3339(operation.end_time),
                  operation.done && !operation.status.ok() ? operation.status.message()
                                                           : OperationProgress(operation)});
  }
  table.Print(std::cout, TableWidth());
  return 0;
}

int Get(Context& context, const std::string& collection, const std::string& id) {
  const Result<Operation> operation = context.client().GetOperation(collection, id);
  if (!operation.ok()) return context.Fail("get operation " + id, operation.status());
  PrintOperation(context, *operation);
  return 0;
}

// The exit code says how it ended.
int Wait(Context& context, const std::string& collection, const std::string& id) {
  Result<Operation> operation = context.client().GetOperation(collection, id);
  if (operation.ok() && !operation->done) operation = WaitUntilDone(context, *operation);
  if (!operation.ok()) return context.Fail("wait for operation " + id, operation.status());
  PrintOperation(context, *operation);
  return operation->status.ok() ? 0 : kServerSaidNo;
}

int Cancel(Context& context, const std::string& collection, const std::string& id) {
  const Status status = context.client().CancelOperation(collection, id);
  if (!status.ok()) return context.Fail("cancel operation " + id, status);
  return Get(context, collection, id);
}

void AddStart(CLI::App* group, Context& context, Operation::Type type, const char* description) {
  CLI::App* command = group->add_subcommand(std::string(OperationTypeName(type)), description);
  const auto arguments = std::make_shared<StartArguments>();
  arguments->type = type;
  command->add_option("NAME", arguments->collection)->required();
  command->add_option("--shards", arguments->shards, "Numbers of shards, by commas (default: all)")
      ->delimiter(',');
  command->add_flag("--dry-run", arguments->dry_run, "Say what it would take, and start nothing");
  if (type == Operation::Type::kRetrain) {
    command
        ->add_option("--min-recall", arguments->min_recall,
                     "Recall that a new build must find to go live (default: as good as the old)")
        ->check(CLI::Range(0.0, 1.0));
  }
  CLI::Option* wait = command->add_flag("--wait,!--no-wait", arguments->wait,
                                        "Wait until it is done (default: on a terminal)");
  command->callback([&context, arguments, wait] {
    if (wait->count() == 0) arguments->wait = StderrIsTerminal();
    context.command = [&context, arguments] { return Start(context, *arguments); };
  });
}

}  // namespace

void AddIndexWorkCommands(CLI::App* collection_group, Context& context) {
  AddStart(collection_group, context, Operation::Type::kRetrain,
           "Train the index on the rows that are there now, and encode them anew");
  AddStart(collection_group, context, Operation::Type::kCompact,
           "Merge each shard's segments and drop deleted rows");
}

void AddOperationCommands(CLI::App& app, Context& context) {
  CLI::App* group = app.add_subcommand("operation", "List, show and cancel long-running work");
  group->require_subcommand(1);
  const auto collection = std::make_shared<std::string>();
  const auto id = std::make_shared<std::string>();

  CLI::App* list = group->add_subcommand("list", "List a collection's operations");
  list->add_option("NAME", *collection, "Collection")->required();
  list->callback([&context, collection] {
    context.command = [&context, collection] { return ListAll(context, *collection); };
  });

  CLI::App* wait = group->add_subcommand(
      "wait", "Wait until an operation is done; exits 1 when it failed or was cancelled");
  wait->add_option("NAME", *collection, "Collection")->required();
  wait->add_option("ID", *id)->required();
  wait->callback([&context, collection, id] {
    context.command = [&context, collection, id] { return Wait(context, *collection, *id); };
  });

  CLI::App* get = group->add_subcommand("show", "Show an operation")->alias("get");
  get->add_option("NAME", *collection, "Collection")->required();
  get->add_option("ID", *id)->required();
  get->callback([&context, collection, id] {
    context.command = [&context, collection, id] { return Get(context, *collection, *id); };
  });

  CLI::App* cancel = group->add_subcommand("cancel", "Ask an operation to stop");
  cancel->add_option("NAME", *collection, "Collection")->required();
  cancel->add_option("ID", *id)->required();
  cancel->callback([&context, collection, id] {
    context.command = [&context, collection, id] { return Cancel(context, *collection, *id); };
  });
}

}  // namespace vecino::cli
