// vecino purge|patch COLLECTION --filter F
#include <iostream>
#include <memory>
#include <string>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/operation_text.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct Arguments {
  std::string collection, filter, patch;
  bool yes = false;
};

int Preview(const Context& context, const Arguments& arguments, const DocumentChange& change,
            const char* done) {
  if (context.json) {
    std::cout << OneLine({{"collection", arguments.collection},
                          {"count", change.count},
                          {"sample", change.sample_ids}})
              << '\n';
    return 0;
  }
  std::cout << WithCommas(change.count) << " documents would be " << done;
  constexpr size_t kShown = 5;
  for (size_t i = 0; i < change.sample_ids.size() && i < kShown; ++i) {
    std::cout << (i == 0 ? ": " : ", ") << Printable(change.sample_ids[i]);
  }
  std::cout << (change.sample_ids.size() > kShown ? ", ...\n" : "\n");
  std::cout << "nothing was changed; say it again with --yes\n";
  return 0;
}

int Run(Context& context, const Arguments& arguments, bool purge) {
  const std::string what = (purge ? "purge " : "patch ") + arguments.collection;
  const Result<DocumentChange> change =
      purge ? context.client().PurgeDocuments(arguments.collection, arguments.filter, arguments.yes)
            : context.client().PatchDocuments(arguments.collection, arguments.filter,
                                              arguments.patch, arguments.yes);
  if (!change.ok()) return context.Fail(what, change.status());
  const char* const done = purge ? "deleted" : "changed";
  if (!arguments.yes) return Preview(context, arguments, *change, done);
  Operation operation = change->operation;
  while (!operation.done) {
    const Result<Operation> now = context.client().WaitOperation(operation.collection, operation.id,
                                                                 std::chrono::milliseconds(2'000));
    if (!now.ok()) return context.Fail(what, now.status());
    operation = *now;
    if (!operation.done && !context.json) {
      std::cerr << what << ": " << OperationProgress(operation) << '\n';
    }
  }
  if (context.json) {
    std::cout << OneLine(OperationJson(operation)) << '\n';
  } else if (operation.status.ok()) {
    int64_t documents = 0;
    for (const OperationShard& shard : operation.shards) documents += shard.rows_done;
    std::cout << WithCommas(documents) << " documents " << done << '\n';
  }
  return operation.status.ok() ? 0 : context.Fail(what, operation.status);
}

void Add(CLI::App& app, Context& context, const char* name, const char* description, bool purge) {
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(name, description);
  command->add_option("COLLECTION", arguments->collection)->required();
  command
      ->add_option("--filter", arguments->filter,
                   "Which documents, such as \"year < 2000\"; \"*\" for all")
      ->required();
  if (!purge) {
    command
        ->add_option("--metadata", arguments->patch,
                     "Fields to set, as a JSON object; null removes a field")
        ->required();
  }
  command->add_flag("--yes,-y", arguments->yes, "Do it; without, only say what would be done");
  command->callback([&context, arguments, purge] {
    context.command = [&context, arguments, purge] { return Run(context, *arguments, purge); };
  });
}

}  // namespace

void AddChangeCommands(CLI::App& app, Context& context) {
  Add(app, context, "purge", "Delete the documents that a filter lets pass", true);
  Add(app, context, "patch", "Change the metadata of the documents that a filter lets pass", false);
}

}  // namespace vecino::cli
