// vecino snapshot create|list|restore|verify|delete
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/interrupt.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string snapshot, source, collection, as;
  std::vector<std::string> collections;
  bool no_wait = false, yes = false;
};

Json SnapshotJson(const Snapshot& snapshot) {
  Json json;
  json["id"] = snapshot.id;
  if (!snapshot.damage.empty()) {
    json["damage"] = snapshot.damage;
    return json;
  }
  json["create_time"] = Rfc3339(snapshot.create_time);
  json["server_version"] = snapshot.server_version;
  json["documents"] = snapshot.documents;
  json["bytes"] = snapshot.bytes;
  json["collections"] = Json::array();
  for (const SnapshotCollection& collection : snapshot.collections) {
    json["collections"].push_back({{"id", collection.id}, {"documents", collection.documents}});
  }
  return json;
}

Json OperationJson(const SnapshotOperation& operation) {
  Json json{{"id", operation.id},
            {"snapshot", operation.snapshot},
            {"type", operation.type == SnapshotOperation::Type::kCreate ? "create" : "restore"},
            {"done", operation.done},
            {"stage", operation.stage},
            {"rows_done", operation.rows_done},
            {"rows_total", operation.rows_total},
            {"collections", operation.collections},
            {"create_time", Rfc3339(operation.create_time)},
            {"end_time", Rfc3339(operation.end_time)}};
  if (!operation.status.ok()) json["error"] = operation.status.ToString();
  if (operation.made) json["made"] = SnapshotJson(*operation.made);
  return json;
}

// One line that is redrawn on a terminal; nothing elsewhere.
class Line {
 public:
  ~Line() { Clear(); }
  void Show(const std::string& text) {
    if (!StderrIsTerminal()) return;
    std::fprintf(stderr, "\r\033[K%s",
                 CutToWidth(Printable(text), TerminalWidth(STDERR_FILENO) - 1).c_str());
    drawn_ = true;
  }
  void Clear() {
    if (drawn_) std::fputs("\r\033[K", stderr);
    drawn_ = false;
  }

 private:
  bool drawn_ = false;
};

std::string Progress(const SnapshotOperation& operation, Clock::duration spent) {
  std::string text = operation.stage + "  " + WithCommas(operation.rows_done);
  if (operation.rows_total > 0) {
    const int64_t percent =
        std::clamp<int64_t>(operation.rows_done * 100 / operation.rows_total, 0, 100);
    text += " of " + WithCommas(operation.rows_total) + " rows  " + std::to_string(percent) + "%";
  }
  return ClockTime(spent) + "  " + text;
}

// Ctrl-C cancels the operation.
Result<SnapshotOperation> WaitUntilDone(Context& context, SnapshotOperation operation) {
  const std::chrono::milliseconds pace(500);
  const Clock::time_point start = Clock::now();
  Line line;
  CatchInterrupt();
  for (bool cancelled = false; !operation.done;) {
    if (Interrupted().load() && !cancelled) {
      cancelled = true;
      const Status status =
          context.client().CancelSnapshotOperation(operation.snapshot, operation.id);
      if (!status.ok()) return status;
    }
    line.Show(Progress(operation, Clock::now() - start));
    const Clock::time_point next = Clock::now() + pace;
    Result<SnapshotOperation> now =
        context.client().WaitSnapshotOperation(operation.snapshot, operation.id, pace);
    if (!now.ok()) return now.status();
    operation = *now;
    if (!operation.done) std::this_thread::sleep_until(next);
  }
  return operation;
}

// Waits for what was started unless told not to, and tells how it ended.
int Follow(Context& context, const Arguments& arguments, const std::string& what,
           const Result<SnapshotOperation>& started) {
  if (!started.ok()) return context.Fail(what, started.status());
  SnapshotOperation operation = *started;
  if (!arguments.no_wait) {
    const Result<SnapshotOperation> done = WaitUntilDone(context, operation);
    if (!done.ok()) return context.Fail("wait: " + what, done.status());
    operation = *done;
  }
  if (context.json) {
    std::cout << OneLine(OperationJson(operation)) << '\n';
  } else if (!operation.done) {
    std::cout << what << " runs\n";
  } else if (operation.made) {
    std::cout << "made snapshot " << Printable(operation.snapshot) << ": "
              << Counted(static_cast<int64_t>(operation.made->collections.size()), "collection")
              << ", " << Counted(operation.made->documents, "document") << ", "
              << Bytes(operation.made->bytes) << '\n';
  } else if (operation.status.ok()) {
    for (const std::string& collection : operation.collections) {
      std::cout << "restored collection " << Printable(collection) << " from snapshot "
                << Printable(operation.snapshot) << '\n';
    }
  }
  return operation.status.ok() ? 0 : context.Fail(what, operation.status);
}

int Create(Context& context, const Arguments& arguments) {
  return Follow(context, arguments, "create snapshot " + arguments.snapshot,
                context.client().CreateSnapshot(arguments.snapshot, arguments.collections));
}

// The option in place of the request's field, which the server names.
void NameOption(std::string_view field, std::string_view option, std::string* message) {
  for (size_t at = 0; (at = message->find(field, at)) != std::string::npos; at += option.size()) {
    message->replace(at, field.size(), option);
  }
}

Result<SnapshotOperation> StartRestore(Context& context, const Arguments& arguments) {
  const Result<SnapshotOperation> started =
      context.client().RestoreSnapshot(arguments.snapshot, arguments.source, arguments.as);
  if (started.ok()) return started;
  std::string message = started.status().message();
  NameOption("collection_id", "--as", &message);
  NameOption("source_collection", "--collection", &message);
  return Status(started.status().code(), message);
}

int Restore(Context& context, const Arguments& arguments) {
  return Follow(context, arguments, "restore snapshot " + arguments.snapshot,
                StartRestore(context, arguments));
}

int List(Context& context, const Arguments&) {
  const Result<std::vector<Snapshot>> snapshots = context.client().ListSnapshots();
  if (!snapshots.ok()) return context.Fail("list snapshots", snapshots.status());
  Table table({{"SNAPSHOT"},
               {"CREATED"},
               {"DOCUMENTS", Table::Align::kRight},
               {"SIZE", Table::Align::kRight},
               {"COLLECTIONS"}});
  for (const Snapshot& snapshot : *snapshots) {
    if (context.json) {
      std::cout << OneLine(SnapshotJson(snapshot)) << '\n';
      continue;
    }
    std::string collections =
        snapshot.damage.empty() ? "" : "CANNOT BE RESTORED: " + snapshot.damage;
    for (const SnapshotCollection& collection : snapshot.collections) {
      collections += (collections.empty() ? "" : ", ") + collection.id;
    }
    if (!snapshot.damage.empty()) {
      table.AddRow({snapshot.id, "-", "-", "-", collections});
      continue;
    }
    table.AddRow({snapshot.id, Rfc3339(snapshot.create_time), WithCommas(snapshot.documents),
                  Bytes(snapshot.bytes), collections});
  }
  if (snapshots->empty() && !context.json) std::cerr << "vecino: there is no snapshot\n";
  table.Print(std::cout, TableWidth());
  return 0;
}

int Delete(Context& context, const Arguments& arguments) {
  const int refused = context.Confirm(arguments.yes, [&] {
    return "Delete snapshot " + Printable(arguments.snapshot) + ", for good?";
  });
  if (refused != 0) return refused;
  const Status status = context.client().DeleteSnapshot(arguments.snapshot);
  if (!status.ok()) return context.Fail("delete snapshot " + arguments.snapshot, status);
  if (!context.json) std::cout << "deleted snapshot " << Printable(arguments.snapshot) << '\n';
  return 0;
}

Json ReportJson(const IntegrityReport& report) {
  if (!report.finding) {
    return {{"done", report.done},
            {"rows", report.rows},
            {"bytes", report.bytes},
            {"findings", report.findings}};
  }
  const IntegrityFinding& finding = *report.finding;
  Json json;
  if (!finding.collection.empty()) json["collection"] = finding.collection;
  if (!finding.snapshot.empty()) json["snapshot"] = finding.snapshot;
  json["location"] = finding.location;
  json["problem"] = finding.problem;
  json["advice"] = finding.advice;
  return json;
}

void PrintFinding(const IntegrityFinding& finding) {
  std::string of = finding.location;
  if (!finding.collection.empty()) of = "collection " + finding.collection + ", " + of;
  if (!finding.snapshot.empty()) of = "snapshot " + finding.snapshot + ", " + of;
  std::cout << Printable(of) << ": " << Printable(finding.problem) << "\n  "
            << Printable(finding.advice) << '\n';
}

int Verify(Context& context, const Arguments& arguments) {
  if (!arguments.snapshot.empty() && !arguments.collection.empty()) {
    return UsageError("name a snapshot or --collection, not both");
  }
  CatchInterrupt();
  Line line;
  bool interrupted = false;
  const Clock::time_point start = Clock::now();
  const Status status = context.client().VerifyIntegrity(
      arguments.collection, arguments.snapshot, [&](const IntegrityReport& report) {
        if (report.finding || report.done) line.Clear();
        if (context.json && (report.finding || report.done)) {
          std::cout << OneLine(ReportJson(report)) << '\n';
        } else if (report.finding) {
          PrintFinding(*report.finding);
        } else if (report.done && !context.json) {
          std::cout << "checked " << WithCommas(report.rows) << " rows and " << Bytes(report.bytes)
                    << " in " << Duration(Clock::now() - start) << ": "
                    << (report.findings == 0 ? "all is well" : Counted(report.findings, "finding"))
                    << '\n';
        } else {
          line.Show(ClockTime(Clock::now() - start) + "  " + report.stage + "  " +
                    WithCommas(report.rows) + " rows, " + Bytes(report.bytes));
        }
        interrupted = Interrupted().load();
        return interrupted ? Status(Code::kCancelled, "interrupted") : Status();
      });
  if (interrupted) return kInterrupted;
  line.Clear();
  return status.ok() ? 0 : context.Fail("verify", status);
}

}  // namespace

void AddSnapshotCommands(CLI::App& app, Context& context) {
  CLI::App* group =
      app.add_subcommand("snapshot", "Copies of collections, and checks of what is stored");
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
  const auto no_wait = [&](CLI::App* command) {
    command->add_flag("--no-wait", arguments->no_wait, "Do not wait until it is done");
  };
  CLI::App* create = add("create", "Copy collections as they are now", Create);
  create->add_option("SNAPSHOT", arguments->snapshot, "Its id (default: the time)");
  // One value each time: it must not take the name of the snapshot behind it.
  create->add_option("--collection", arguments->collections, "Only this one; may be repeated")
      ->allow_extra_args(false);
  no_wait(create);

  add("list", "List all snapshots", List);

  CLI::App* restore = add("restore", "Make collections of a snapshot", Restore);
  restore->add_option("SNAPSHOT", arguments->snapshot)->required();
  restore->add_option("--collection", arguments->source, "Only this one of the snapshot");
  restore->add_option("--as", arguments->as, "Id of the collection that is made");
  no_wait(restore);

  CLI::App* verify =
      add("verify", "Look for damage: of everything, of a snapshot, or of a collection", Verify);
  verify->add_option("SNAPSHOT", arguments->snapshot);
  verify->add_option("--collection", arguments->collection, "Check this collection");

  CLI::App* remove = add("delete", "Delete a snapshot for good", Delete);
  remove->add_option("SNAPSHOT", arguments->snapshot)->required();
  AddYesOption(remove, &arguments->yes);
}

}  // namespace vecino::cli
