// vecino collection update NAME [--recall R] [--nprobe N] [--ef-search N] [--graph|--no-graph]
// [--etag E] [--validate-only]
#include <memory>
#include <string>

#include "client/cli/context.h"

namespace vecino::cli {
namespace {

struct Arguments {
  std::string collection;
  CollectionUpdate update;
  bool graph = true;
  bool validate_only = false;
};

int Run(Context& context, const Arguments& arguments) {
  const Result<Collection> updated = context.client().UpdateCollection(
      arguments.collection, arguments.update, arguments.validate_only);
  if (!updated.ok()) return context.Fail("update " + arguments.collection, updated.status());
  PrintCollection(context, *updated);
  return 0;
}

}  // namespace

void AddCollectionUpdateCommand(CLI::App* group, Context& context) {
  CLI::App* command =
      group->add_subcommand("update", "Change how a collection is searched; nothing is built anew");
  const auto arguments = std::make_shared<Arguments>();
  CollectionUpdate& update = arguments->update;
  command->add_option("NAME", arguments->collection)->required();
  command->add_option("--recall", update.recall_target,
                      "Share of the true nearest documents to find");
  command->add_option("--nprobe", update.nprobe,
                      "ivf-*: lists that a search scans; 0: as many as reach the recall");
  command->add_option("--ef-search", update.ef_search,
                      "hnsw: breadth of a search, 1 to 4096; 0: what reaches the recall");
  CLI::Option* graph =
      command->add_flag("--graph,!--no-graph", arguments->graph, "auto: whether to build a graph");
  command->add_option("--etag", update.etag, "Only if the collection's etag is this one");
  command->add_flag("--validate-only", arguments->validate_only, "Check, and change nothing");
  command->callback([&context, arguments, graph] {
    CollectionUpdate& asked = arguments->update;
    if (graph->count() > 0) asked.graph = arguments->graph;
    if (!asked.recall_target && !asked.nprobe && !asked.ef_search && !asked.graph) {
      throw CLI::ValidationError(
          "update", "give what to change: --recall, --nprobe, --ef-search, --graph or --no-graph");
    }
    context.command = [&context, arguments] { return Run(context, *arguments); };
  });
}

}  // namespace vecino::cli
