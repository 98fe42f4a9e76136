// vecino collection create|list|show|delete|stats, and others that are added here
#include <cstdio>
#include <iostream>
#include <map>
#include <utility>

#include "client/cli/collection_stats.h"
#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct CreateArguments {
  Collection collection;
  bool chunk = false;
  int chunk_tokens = 0, chunk_overlap = -1;
  bool validate_only = false;
};

// "auto, recall .95, nlist 300": what is not left to the server.
std::string IndexText(const Collection& collection) {
  const IndexParameters& parameters = collection.index_parameters;
  const std::pair<const char*, int> numbers[] = {
      {"nlist", parameters.nlist},         {"nprobe", parameters.nprobe},
      {"pq-m", parameters.pq_m},           {"pq-bits", parameters.pq_bits},
      {"hnsw-m", parameters.hnsw_m},       {"ef-construction", parameters.ef_construction},
      {"ef-search", parameters.ef_search}, {"lsh-bits", parameters.lsh_bits}};
  std::string text = collection.index_kind;
  if (collection.index_kind != "flat" && collection.recall_target > 0) {
    char recall[32];
    std::snprintf(recall, sizeof(recall), ", recall %g", collection.recall_target);
    text += recall;
  }
  for (const auto& [name, value] : numbers) {
    if (value != 0) text += std::string(", ") + name + " " + WithCommas(value);
  }
  if (!parameters.graph) text += ", no graph";
  return text;
}

int Create(Context& context, const CreateArguments& arguments) {
  const Result<Collection> made =
      context.client().CreateCollection(arguments.collection, arguments.validate_only);
  if (!made.ok()) return context.Fail("create " + arguments.collection.id, made.status());
  PrintCollection(context, *made);
  return 0;
}

int ListAll(Context& context) {
  const Result<std::vector<Collection>> collections = context.client().ListCollections();
  if (!collections.ok()) return context.Fail("list collections", collections.status());
  Table table({{"NAME"},
               {"DIMENSION", Table::Align::kRight},
               {"METRIC"},
               {"SHARDS", Table::Align::kRight},
               {"INDEX"},
               {"CREATED"},
               {"MODEL"}});
  for (const Collection& collection : *collections) {
    if (context.json) {
      std::cout << OneLine(CollectionJson(collection)) << '\n';
      continue;
    }
    table.AddRow({collection.id, WithCommas(collection.dimension),
                  std::string(MetricName(collection.metric)),
                  std::to_string(collection.shard_count), collection.index_kind,
                  Rfc3339(collection.create_time), collection.model});
  }
  if (collections->empty() && !context.json) std::cerr << "vecino: there is no collection\n";
  table.Print(std::cout, TableWidth());
  return 0;
}

int Show(Context& context, const std::string& id) {
  const Result<Collection> collection = context.client().GetCollection(id);
  if (!collection.ok()) return context.Fail("show " + id, collection.status());
  PrintCollection(context, *collection);
  return 0;
}

int Delete(Context& context, const std::string& id, const std::string& etag, bool yes) {
  const int refused = context.Confirm(yes, [&] {
    const Result<int64_t> count = context.client().Count(id);
    return "Delete collection " + Printable(id) +
           (count.ok() ? " with its " + WithCommas(*count) + " documents" : "") + ", for good?";
  });
  if (refused != 0) return refused;
  const Status status = context.client().DeleteCollection(id, etag);
  if (!status.ok()) return context.Fail("delete " + id, status);
  if (context.json) {
    std::cout << OneLine({{"id", id}, {"deleted", true}}) << '\n';
  } else {
    std::cout << "deleted " << Printable(id) << '\n';
  }
  return 0;
}

int Stats(Context& context, const std::string& id) {
  const Result<CollectionStats> stats = context.client().GetCollectionStats(id);
  if (!stats.ok()) return context.Fail("stats " + id, stats.status());
  if (context.json) {
    std::cout << OneLine(StatsJson(id, *stats)) << '\n';
  } else {
    PrintStats(std::cout, id, *stats, TableWidth());
  }
  return 0;
}

void AddIndexOptions(CLI::App* create, Collection* collection) {
  create->add_option("--index", collection->index_kind, "Kind of index (default auto)")
      ->check(CLI::IsMember({"auto", "flat", "ivf-flat", "ivf-sq8", "ivf-pq", "hnsw", "lsh"})
                  .description("auto|flat|ivf-flat|ivf-sq8|ivf-pq|hnsw|lsh"));
  create->add_option("--recall", collection->recall_target,
                     "Share of the true nearest documents to find (default 0.95)");
  IndexParameters& parameters = collection->index_parameters;
  create->add_option("--nlist", parameters.nlist, "auto, ivf-*: lists a shard");
  create->add_option("--nprobe", parameters.nprobe, "ivf-*: lists that a search scans");
  create->add_option("--pq-m", parameters.pq_m, "ivf-pq: codes of a row; divides the dimension");
  create->add_option("--pq-bits", parameters.pq_bits, "ivf-pq: bits of a code, 4 to 8");
  create->add_option("--hnsw-m", parameters.hnsw_m, "hnsw, auto's graph: links a node, 2 to 128");
  create->add_option("--ef-construction", parameters.ef_construction,
                     "hnsw: candidates for a node's links, 4 to 4096");
  create->add_option("--ef-search", parameters.ef_search, "hnsw: breadth of a search, 1 to 4096");
  create->add_option("--lsh-bits", parameters.lsh_bits, "lsh: bits of a row, a multiple of 8");
  create->add_flag("!--no-graph", parameters.graph, "auto: never build a graph");
}

void AddCreate(CLI::App* group, Context& context) {
  CLI::App* create = group->add_subcommand("create", "Create an empty collection");
  const auto arguments = std::make_shared<CreateArguments>();
  Collection& collection = arguments->collection;
  static const std::map<std::string, Metric> kMetrics{
      {"cosine", Metric::kCosine}, {"dot", Metric::kDot}, {"l2", Metric::kL2}};
  create->add_option("NAME", collection.id, "Lower-case letters, digits, - and _")->required();
  create->add_option(
      "--model", collection.model,
      "Model that turns text into vectors; without one the collection takes vectors");
  create->add_option("--query-prompt", collection.query_prompt,
                     "Name of the model's prompt before queries (default query); `vecino --json "
                     "models` lists them");
  create->add_option("--document-prompt", collection.document_prompt,
                     "Name of the model's prompt before documents (default document)");
  create->add_option("--dim", collection.dimension,
                     "Floats in a vector; may be left out with --model");
  create
      ->add_option("--metric", collection.metric,
                   "How vectors are compared (default cosine, which stores them at length 1)")
      ->transform(CLI::CheckedTransformer(kMetrics, CLI::ignore_case).description("cosine|dot|l2"));
  create->add_option("--shards", collection.shard_count, "Number of shards (default 2)");
  AddIndexOptions(create, &collection);
  create->add_flag("--chunk", arguments->chunk,
                   "Split long texts into passages with a vector each; needs --model");
  create->add_option("--chunk-tokens", arguments->chunk_tokens,
                     "Most tokens of a passage (default the model's window); implies --chunk");
  create
      ->add_option("--chunk-overlap", arguments->chunk_overlap,
                   "Tokens a passage shares with the next (default 32); implies --chunk")
      ->check(CLI::NonNegativeNumber);
  create->add_flag("--validate-only", arguments->validate_only, "Check, and create nothing");
  create->callback([&context, arguments] {
    if (arguments->collection.model.empty() && arguments->collection.dimension == 0) {
      throw CLI::ValidationError(
          "create",
          "give --model NAME (`vecino models` lists them), or --dim N for vectors of your own");
    }
    if (arguments->chunk || arguments->chunk_tokens != 0 || arguments->chunk_overlap >= 0) {
      Chunking& chunking = arguments->collection.chunking.emplace();
      chunking.max_tokens = arguments->chunk_tokens;
      if (arguments->chunk_overlap >= 0) chunking.overlap_tokens = arguments->chunk_overlap;
    }
    context.command = [&context, arguments] { return Create(context, *arguments); };
  });
}

}  // namespace

void PrintCollection(const Context& context, const Collection& collection) {
  if (context.json) {
    std::cout << OneLine(CollectionJson(collection)) << '\n';
    return;
  }
  std::cout << collection.id << '\n'
            << "  dimension  " << WithCommas(collection.dimension) << '\n'
            << "  metric     " << MetricName(collection.metric) << '\n'
            << "  model      "
            << (collection.model.empty() ? "none: vectors only" : collection.model) << '\n';
  if (!collection.model_hash.empty()) std::cout << "  model hash " << collection.model_hash << '\n';
  if (!collection.query_prompt.empty()) {
    std::cout << "  prompts    " << Printable(collection.query_prompt) << " before queries, "
              << Printable(collection.document_prompt) << " before documents\n";
  }
  std::cout << "  shards     " << collection.shard_count << '\n'
            << "  index      " << IndexText(collection) << '\n';
  if (collection.chunking.has_value()) {
    std::cout << "  passages   of " << WithCommas(collection.chunking->max_tokens)
              << " tokens at most, " << collection.chunking->overlap_tokens.value_or(0)
              << " in common with the next\n";
  }
  std::cout << "  created    " << Rfc3339(collection.create_time) << '\n'
            << "  etag       " << collection.etag << '\n';
  if (collection.migration) {
    std::cout << "  migration  " << MigrationStateName(collection.migration->state)
              << ": vecino collection migrate-status " << collection.id << '\n';
  }
}

void AddCollectionCommands(CLI::App& app, Context& context) {
  CLI::App* group =
      app.add_subcommand("collection", "Create, show, maintain and delete collections");
  group->require_subcommand(1);
  AddCreate(group, context);

  group->add_subcommand("list", "List the collections")->callback([&context] {
    context.command = [&context] { return ListAll(context); };
  });

  const auto id = std::make_shared<std::string>();
  CLI::App* show = group->add_subcommand("show", "Show a collection's definition");
  show->add_option("NAME", *id)->required();
  show->callback(
      [&context, id] { context.command = [&context, id] { return Show(context, *id); }; });

  CLI::App* stats = group->add_subcommand("stats", "Show a collection's exact figures");
  stats->add_option("NAME", *id)->required();
  stats->callback(
      [&context, id] { context.command = [&context, id] { return Stats(context, *id); }; });

  AddIndexWorkCommands(group, context);
  AddMigrationCommands(group, context);
  AddRecallCommand(group, context);
  AddTuneCommand(group, context);
  AddCollectionUpdateCommand(group, context);
  AddAliasCommands(*group, context);  // also as `vecino alias`

  CLI::App* remove = group->add_subcommand("delete", "Delete a collection and all it holds");
  const auto etag = std::make_shared<std::string>();
  const auto yes = std::make_shared<bool>(false);
  remove->add_option("NAME", *id)->required();
  remove->add_option("--etag", *etag, "Delete only if the collection's etag is this one");
  AddYesOption(remove, yes.get());
  remove->callback([&context, id, etag, yes] {
    context.command = [&context, id, etag, yes] { return Delete(context, *id, *etag, *yes); };
  });
}

}  // namespace vecino::cli
