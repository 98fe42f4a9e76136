// vecino alias create|update|list|delete
#include <iostream>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct Arguments {
  std::string alias, collection, expected;
  bool create = false;
};

Json AliasJson(const Alias& alias) {
  return {{"id", alias.id},
          {"target", alias.target},
          {"create_time", Rfc3339(alias.create_time)},
          {"update_time", Rfc3339(alias.update_time)}};
}

int PrintAlias(const Context& context, const Alias& alias) {
  if (context.json) {
    std::cout << OneLine(AliasJson(alias)) << '\n';
  } else {
    std::cout << Printable(alias.id) << " points to " << Printable(alias.target) << '\n';
  }
  return 0;
}

int Create(Context& context, const Arguments& arguments) {
  const Result<Alias> alias = context.client().CreateAlias(arguments.alias, arguments.collection);
  if (!alias.ok()) return context.Fail("create alias " + arguments.alias, alias.status());
  return PrintAlias(context, *alias);
}

int Update(Context& context, const Arguments& arguments) {
  const Result<Alias> alias = context.client().UpdateAlias(arguments.alias, arguments.collection,
                                                           arguments.expected, arguments.create);
  if (!alias.ok()) return context.Fail("update alias " + arguments.alias, alias.status());
  return PrintAlias(context, *alias);
}

int List(Context& context, const Arguments&) {
  const Result<std::vector<Alias>> aliases = context.client().ListAliases();
  if (!aliases.ok()) return context.Fail("list aliases", aliases.status());
  Table table({{"ALIAS"}, {"COLLECTION"}, {"CREATED"}, {"UPDATED"}});
  for (const Alias& alias : *aliases) {
    if (context.json) {
      std::cout << OneLine(AliasJson(alias)) << '\n';
    } else {
      table.AddRow(
          {alias.id, alias.target, Rfc3339(alias.create_time), Rfc3339(alias.update_time)});
    }
  }
  if (aliases->empty() && !context.json) std::cerr << "vecino: there is no alias\n";
  table.Print(std::cout, TableWidth());
  return 0;
}

int Delete(Context& context, const Arguments& arguments) {
  const Status status = context.client().DeleteAlias(arguments.alias);
  if (!status.ok()) return context.Fail("delete alias " + arguments.alias, status);
  if (!context.json) std::cout << "deleted alias " << Printable(arguments.alias) << '\n';
  return 0;
}

}  // namespace

void AddAliasCommands(CLI::App& app, Context& context) {
  CLI::App* group = app.add_subcommand("alias", "Second names of collections");
  group->require_subcommand(1);
  const auto arguments = std::make_shared<Arguments>();
  const auto add = [&](const char* name, const char* description,
                       int (*run)(Context&, const Arguments&)) {
    CLI::App* command = group->add_subcommand(name, description);
    command->callback([&context, arguments, run] {
      context.command = [&context, arguments, run] { return run(context, *arguments); };
    });
    return command;
  };
  CLI::App* create = add("create", "Give a collection a second name", Create);
  create->add_option("ALIAS", arguments->alias)->required();
  create->add_option("COLLECTION", arguments->collection)->required();

  CLI::App* update = add("update", "Point an alias to another collection, at once for all", Update);
  update->add_option("ALIAS", arguments->alias)->required();
  update->add_option("COLLECTION", arguments->collection)->required();
  update->add_option("--expect", arguments->expected, "Only if it points to this collection now");
  update->add_flag("--create", arguments->create, "Create it if it does not exist");

  add("list", "List all aliases", List);
  add("delete", "Delete an alias; its collection stays", Delete)
      ->add_option("ALIAS", arguments->alias)
      ->required();
}

}  // namespace vecino::cli
