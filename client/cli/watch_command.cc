// vecino watch
#include <iostream>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

Json EventJson(const Event& event) {
  Json json{{"time", Rfc3339(event.time)}, {"kind", event.kind}};
  if (!event.collection.empty()) json["collection"] = event.collection;
  if (event.shard) json["shard"] = *event.shard;
  json["message"] = event.message;
  return json;
}

void PrintEvent(const Context& context, const Event& event, int64_t missed) {
  if (context.json) {
    Json json = EventJson(event);
    if (missed > 0) json["missed"] = missed;
    std::cout << OneLine(json) << '\n';
    return;
  }
  if (missed > 0) std::cout << "(missed " << WithCommas(missed) << " events)\n";
  std::cout << Rfc3339(event.time) << "  ";
  if (!event.collection.empty()) {
    std::cout << Printable(event.collection);
    if (event.shard) std::cout << " shard " << *event.shard;
    std::cout << ": ";
  }
  std::cout << Printable(event.message) << '\n';
}

int Watch(Context& context, const std::string& collection, int64_t count) {
  int64_t left = count;
  bool enough = false;
  const Status status = context.client().WatchEvents(
      collection, [&](const std::optional<Event>& event, int64_t missed) {
        if (!event) {
          if (!context.json) std::cerr << "watching; Ctrl-C ends it\n";
          return Status();
        }
        PrintEvent(context, *event, missed);
        std::cout.flush();  // also into a pipe, event by event
        enough = (count > 0 && --left == 0) || !std::cout;
        return enough ? Status(Code::kCancelled, "that is enough") : Status();
      });
  if (enough) return 0;
  return context.Fail("watch", status);
}

}  // namespace

void AddWatchCommand(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("watch", "Print what maintenance and administration do, as it happens");
  const auto collection = std::make_shared<std::string>();
  const auto count = std::make_shared<int64_t>(0);
  command->add_option("NAME", *collection, "Only of this collection");
  command->add_option("--count,-n", *count, "End after so many events (default: never)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->callback([&context, collection, count] {
    context.command = [&context, collection, count] { return Watch(context, *collection, *count); };
  });
}

}  // namespace vecino::cli
