// vecino collection migrate|migrate-status|switch|finish
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/operation_text.h"
#include "client/cli/operation_wait.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct MigrateArguments {
  std::string collection;
  MigrationOptions options;
  std::string query_file;
  bool dry_run = false;
  bool wait = false;
};

const std::map<std::string, EmbeddingSide>& Sides() {
  static const auto& sides = *new std::map<std::string, EmbeddingSide>{
      {"old", EmbeddingSide::kOld}, {"new", EmbeddingSide::kNew}};
  return sides;
}

// "all-MiniLM-L6-v2, dimension 384, in use; 3 documents without vector".
std::string SideText(const EmbeddingSideInfo& side, bool active) {
  std::string text = side.model.empty() ? "vectors of callers" : Printable(side.model);
  text += ", dimension " + WithCommas(side.dimension);
  if (!side.model.empty() && (side.query_prompt != "query" || side.document_prompt != "document")) {
    text += ", prompts " + Printable(side.query_prompt) + " and " + Printable(side.document_prompt);
  }
  if (active) text += ", in use";
  if (side.documents_without_vector > 0) {
    text += "; " + WithCommas(side.documents_without_vector) + " documents without vector";
  }
  return text;
}

std::string OverlapText(const EmbeddingOverlap& overlap) {
  char text[160];
  std::snprintf(text, sizeof(text), "%.3f of the top %d, rank-biased %.3f, over %d %s",
                overlap.overlap, overlap.top_k, overlap.rank_biased_overlap, overlap.samples,
                overlap.own_texts ? "texts of the collection" : "queries");
  return text;
}

void PrintMigration(const Context& context, const std::string& id,
                    const EmbeddingMigration& migration) {
  if (context.json) {
    Json json = MigrationJson(migration);
    json["collection"] = id;
    std::cout << OneLine(json) << '\n';
    return;
  }
  const bool old_active = migration.active == EmbeddingSide::kOld;
  std::cout << Printable(id) << ": " << MigrationStateName(migration.state) << '\n'
            << "  old        " << SideText(migration.old_side, old_active) << '\n'
            << "  new        " << SideText(migration.new_side, !old_active) << '\n'
            << "  documents  " << WithCommas(migration.documents_done) << " of "
            << WithCommas(migration.documents_total) << '\n'
            << "  lag        " << WithCommas(migration.lag) << " writes\n"
            << "  overlap    "
            << (migration.overlap ? OverlapText(*migration.overlap) : "not measured") << '\n'
            << "  operation  " << migration.operation << '\n'
            << "  began      " << Rfc3339(migration.begin_time) << '\n';
  if (migration.switch_time != std::chrono::system_clock::time_point()) {
    std::cout << "  switched   " << Rfc3339(migration.switch_time) << '\n';
  }
  if (!migration.problem.empty()) {
    std::cout << "  problem    " << Printable(migration.problem) << '\n';
  }
}

int ShowStatus(Context& context, const std::string& id) {
  const Result<Collection> collection = context.client().GetCollection(id);
  if (!collection.ok()) return context.Fail("show the migration of " + id, collection.status());
  if (collection->migration) {
    PrintMigration(context, id, *collection->migration);
  } else if (context.json) {
    std::cout << OneLine({{"collection", id}, {"state", "none"}}) << '\n';
  } else {
    std::cout << Printable(id) << " is in no migration; its embeddings are by "
              << (collection->model.empty() ? "its callers" : Printable(collection->model)) << '\n';
  }
  return 0;
}

// One query a line; empty ones are passed over.
bool ReadQueries(const std::string& path, std::vector<std::string>* queries) {
  std::ifstream file(path);
  if (!file) return false;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) queries->push_back(line);
  }
  return !file.bad();
}

int Migrate(Context& context, MigrateArguments arguments) {
  if (!arguments.query_file.empty() &&
      !ReadQueries(arguments.query_file, &arguments.options.queries)) {
    return UsageError("cannot read " + Printable(arguments.query_file));
  }
  const Result<Operation> started = context.client().MigrateEmbeddings(
      arguments.collection, arguments.options, arguments.dry_run);
  return FollowOperation(context, started,
                         {.what = "migrate " + arguments.collection,
                          .dry_run = arguments.dry_run,
                          .wait = arguments.wait,
                          .status_command = "collection migrate-status"},
                         [&](const Operation& done) {
                           return done.status.ok() ? ShowStatus(context, arguments.collection) : 0;
                         });
}

int Switch(Context& context, const std::string& id, EmbeddingSide to) {
  const Result<Collection> collection = context.client().SwitchEmbeddings(id, to);
  if (!collection.ok()) return context.Fail("switch " + id, collection.status());
  if (context.json) {
    std::cout << OneLine(CollectionJson(*collection)) << '\n';
  } else {
    std::cout << Printable(id) << " uses its " << (to == EmbeddingSide::kOld ? "old" : "new")
              << " embeddings: "
              << (collection->model.empty() ? "vectors of callers" : Printable(collection->model))
              << '\n';
  }
  return 0;
}

int Finish(Context& context, const std::string& id, std::optional<EmbeddingSide> keep, bool yes) {
  if (!yes) {
    const Result<Collection> now = context.client().GetCollection(id);
    if (!now.ok()) return context.Fail("finish the migration of " + id, now.status());
    // Without a migration, or with the other side in use, the server says so.
    const bool told = now->migration && (!keep || *keep == now->migration->active);
    if (told && now->migration->active == EmbeddingSide::kOld) {
      const int refused = context.Confirm(yes, [&] {
        return Printable(id) + " uses its old embeddings. Throw away the new ones, by " +
               Printable(now->migration->new_side.model) + ", for good?";
      });
      if (refused != 0) {
        std::cerr << Printable(id) << " uses its old embeddings, so this throws the new ones away."
                  << " To use those: vecino collection switch " << Printable(id) << " --to new\n";
        return refused;
      }
    }
    // What was asked about, should somebody switch meanwhile.
    if (told) keep = now->migration->active;
  }
  const Result<Collection> collection = context.client().FinishEmbeddingMigration(id, keep);
  if (!collection.ok()) return context.Fail("finish the migration of " + id, collection.status());
  if (context.json) {
    std::cout << OneLine(CollectionJson(*collection)) << '\n';
  } else {
    std::cout << Printable(id) << " keeps its embeddings by "
              << (collection->model.empty() ? "its callers" : Printable(collection->model))
              << "; the others are removed\n";
  }
  return 0;
}

void AddMigrate(CLI::App* group, Context& context) {
  CLI::App* migrate =
      group->add_subcommand("migrate", "Make embeddings by another model, beside those there are");
  const auto arguments = std::make_shared<MigrateArguments>();
  MigrationOptions& options = arguments->options;
  migrate->add_option("NAME", arguments->collection)->required();
  migrate->add_option("--model", options.model, "Model of the new embeddings")->required();
  migrate->add_option("--query-prompt", options.query_prompt,
                      "Name of the model's prompt before queries (default query)");
  migrate->add_option("--document-prompt", options.document_prompt,
                      "Name of the model's prompt before documents (default document)");
  migrate->add_option("--dim", options.dimension, "Floats in a new vector (default: the model's)");
  migrate->add_option("--queries", arguments->query_file,
                      "File of queries, one a line, to compare the answers by (default: texts of "
                      "the collection)");
  migrate->add_option("-k,--top-k", options.top_k, "Documents of each answer (default 10)");
  CLI::Option* automatic = migrate->add_flag("--auto", options.automatic,
                                             "Go over to the new embeddings once they are ready");
  migrate
      ->add_option("--min-overlap", options.min_overlap,
                   "With --auto: only if the answers overlap so much, 0 to 1")
      ->needs(automatic);
  migrate->add_flag("--allow-vectorless", options.allow_vectorless,
                    "Go on though documents have a vector and no text; they lose it");
  migrate->add_flag("--dry-run", arguments->dry_run, "Say what it would take, and start nothing");
  CLI::Option* wait = migrate->add_flag("--wait,!--no-wait", arguments->wait,
                                        "Wait until it is done (default: on a terminal)");
  migrate->callback([&context, arguments, wait] {
    if (wait->count() == 0) arguments->wait = StderrIsTerminal();
    context.command = [&context, arguments] { return Migrate(context, *arguments); };
  });
}

}  // namespace

void AddMigrationCommands(CLI::App* collection_group, Context& context) {
  AddMigrate(collection_group, context);

  const auto id = std::make_shared<std::string>();
  CLI::App* status = collection_group->add_subcommand(
      "migrate-status", "Show how the migration of a collection's embeddings stands");
  status->add_option("NAME", *id)->required();
  status->callback(
      [&context, id] { context.command = [&context, id] { return ShowStatus(context, *id); }; });

  const auto side = std::make_shared<EmbeddingSide>(EmbeddingSide::kNew);
  const auto transformer = [] {
    return CLI::CheckedTransformer(Sides(), CLI::ignore_case).description("old|new");
  };
  CLI::App* change = collection_group->add_subcommand(
      "switch", "Use the new embeddings of a migration, or the old ones again");
  change->add_option("NAME", *id)->required();
  change->add_option("--to", *side, "The embeddings to use")->required()->transform(transformer());
  change->callback([&context, id, side] {
    context.command = [&context, id, side] { return Switch(context, *id, *side); };
  });

  CLI::App* finish = collection_group->add_subcommand(
      "finish", "End a migration: remove the embeddings that are not in use, for good");
  finish->add_option("NAME", *id)->required();
  CLI::Option* keep =
      finish->add_option("--keep", *side, "Only if these are the ones in use: old or new")
          ->transform(transformer());
  const auto yes = std::make_shared<bool>(false);
  AddYesOption(finish, yes.get());
  finish->callback([&context, id, side, keep, yes] {
    const std::optional<EmbeddingSide> kept =
        keep->count() > 0 ? std::optional(*side) : std::nullopt;
    context.command = [&context, id, kept, yes] { return Finish(context, *id, kept, *yes); };
  });
}

}  // namespace vecino::cli
