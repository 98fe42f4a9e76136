// vecino collection create|list|show|delete|stats
#include <iostream>
#include <map>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct CreateArguments {
  Collection collection;
  bool validate_only = false;
};

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
  std::cout << "  shards     " << collection.shard_count << '\n'
            << "  index      " << collection.index_kind << '\n'
            << "  created    " << Rfc3339(collection.create_time) << '\n'
            << "  etag       " << collection.etag << '\n';
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
  table.Print(std::cout, TableWidth());
  return 0;
}

int Show(Context& context, const std::string& id) {
  const Result<Collection> collection = context.client().GetCollection(id);
  if (!collection.ok()) return context.Fail("show " + id, collection.status());
  PrintCollection(context, *collection);
  return 0;
}

// Asks on the terminal; true for yes. Without a terminal to ask on nothing is asked.
bool Confirmed(Context& context, const std::string& id) {
  if (!StdinIsTerminal() || !StderrIsTerminal()) return true;
  const Result<int64_t> count = context.client().Count(id);
  std::cerr << "Delete collection " << Printable(id);
  if (count.ok()) std::cerr << " with its " << WithCommas(*count) << " documents";
  std::cerr << ", for good? [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

int Delete(Context& context, const std::string& id, const std::string& etag, bool yes) {
  if (!yes && !Confirmed(context, id)) {
    std::cerr << "vecino: nothing was deleted\n";
    return kServerSaidNo;
  }
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
    Json json{{"id", id},
              {"live_documents", stats->live_documents},
              {"deleted_rows", stats->deleted_rows},
              {"tail_rows", stats->tail_rows},
              {"segments", stats->segments},
              {"tail_bytes", stats->tail_bytes},
              {"segment_bytes", stats->segment_bytes},
              {"shards", Json::array()}};
    for (const ShardStats& shard : stats->shards) {
      json["shards"].push_back({{"shard", shard.shard},
                                {"live_documents", shard.live_documents},
                                {"last_sequence_number", shard.last_sequence_number},
                                {"tail_rows", shard.tail_rows},
                                {"segments", shard.segments}});
    }
    std::cout << OneLine(json) << '\n';
    return 0;
  }
  std::cout << Printable(id) << '\n'
            << "  documents     " << WithCommas(stats->live_documents) << '\n'
            << "  deleted rows  " << WithCommas(stats->deleted_rows) << '\n'
            << "  tail          " << WithCommas(stats->tail_rows) << " rows, "
            << Bytes(stats->tail_bytes) << '\n'
            << "  segments      " << WithCommas(stats->segments) << ", "
            << Bytes(stats->segment_bytes) << "\n\n";
  Table table({{"SHARD", Table::Align::kRight},
               {"DOCUMENTS", Table::Align::kRight},
               {"TAIL ROWS", Table::Align::kRight},
               {"SEGMENTS", Table::Align::kRight},
               {"LAST SEQUENCE", Table::Align::kRight}});
  for (const ShardStats& shard : stats->shards) {
    table.AddRow({std::to_string(shard.shard), WithCommas(shard.live_documents),
                  WithCommas(shard.tail_rows), WithCommas(shard.segments),
                  WithCommas(shard.last_sequence_number)});
  }
  table.Print(std::cout, TableWidth());
  return 0;
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
  create->add_option("--dim", collection.dimension,
                     "Floats in a vector; may be left out with --model");
  create->add_option("--metric", collection.metric, "How vectors are compared (default cosine)")
      ->transform(CLI::CheckedTransformer(kMetrics, CLI::ignore_case).description("cosine|dot|l2"));
  create->add_option("--shards", collection.shard_count, "Number of shards (default 2)");
  create->add_option("--index", collection.index_kind, "Kind of index (default flat)")
      ->check(CLI::IsMember({"flat"}));
  create->add_flag("--validate-only", arguments->validate_only, "Check, and create nothing");
  create->callback([&context, arguments] {
    context.command = [&context, arguments] { return Create(context, *arguments); };
  });
}

}  // namespace

void AddCollectionCommands(CLI::App& app, Context& context) {
  CLI::App* group = app.add_subcommand("collection", "Create, list, show and delete collections");
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

  CLI::App* remove = group->add_subcommand("delete", "Delete a collection and all it holds");
  const auto etag = std::make_shared<std::string>();
  const auto yes = std::make_shared<bool>(false);
  remove->add_option("NAME", *id)->required();
  remove->add_option("--etag", *etag, "Delete only if the collection's etag is this one");
  remove->add_flag("--yes,-y", *yes, "Do not ask");
  remove->callback([&context, id, etag, yes] {
    context.command = [&context, id, etag, yes] { return Delete(context, *id, *etag, *yes); };
  });
}

}  // namespace vecino::cli
