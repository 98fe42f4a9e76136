// What every command shares: the global options, the client, and how a failure is told.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "vecino/client.h"

namespace vecino::cli {

// Exit codes, besides 0.
inline constexpr int kServerSaidNo = 1;  // also: part of the input could not be loaded
inline constexpr int kUsage = 2;         // the command line or a file named on it is wrong
inline constexpr int kNoConnection = 3;
inline constexpr int kInterrupted = 130;  // Ctrl-C: 128 + SIGINT

// Filled by the parser, then read by the one command that runs. Not thread-safe.
struct Context {
  ClientOptions client_options;
  std::optional<double> timeout_seconds;  // --timeout, when given
  bool json = false;
  std::function<int()> command;  // set by the subcommand that was named; returns the exit code

  // The client, made on first use with client_options, and with `default_timeout` unless --timeout
  // says otherwise.
  Client& client(std::chrono::milliseconds default_timeout = std::chrono::seconds(30));

  // Says on stderr that `what` failed and why; returns the exit code. Whether the server refused or
  // could not be reached is found out by asking for its health.
  int Fail(const std::string& what, const Status& status);

  // Asks before what cannot be undone, unless `yes` (--yes). 0: go on; otherwise nothing is to be
  // done, which it has said on stderr, and this is the exit code. Where there is no terminal to ask
  // on that is kUsage, and `question` is not called.
  int Confirm(bool yes, const std::function<std::string()>& question);

 private:
  std::unique_ptr<Client> client_;
};

// A collection's definition on stdout: lines for people, or JSON.
void PrintCollection(const Context& context, const Collection& collection);

// `vecino: message` on stderr; returns kUsage.
int UsageError(const std::string& message);

// Each adds its commands to `app`. `context` must outlive it.
void AddAnswerCommand(CLI::App& app, Context& context);
void AddAliasCommands(CLI::App& app, Context& context);
void AddCollectionCommands(CLI::App& app, Context& context);
void AddDocumentCommands(CLI::App& app, Context& context);
void AddExportCommand(CLI::App& app, Context& context);
// Under `collection`.
void AddIndexWorkCommands(CLI::App* collection_group, Context& context);
void AddMigrationCommands(CLI::App* collection_group, Context& context);
void AddRecallCommand(CLI::App* collection_group, Context& context);
void AddTuneCommand(CLI::App* collection_group, Context& context);
void AddCollectionUpdateCommand(CLI::App* collection_group, Context& context);
void AddIndexCommands(CLI::App& app, Context& context);
void AddLoadCommand(CLI::App& app, Context& context);
void AddOperationCommands(CLI::App& app, Context& context);
void AddSearchCommand(CLI::App& app, Context& context);
void AddServerCommands(CLI::App& app, Context& context);
void AddSnapshotCommands(CLI::App& app, Context& context);
void AddChangeCommands(CLI::App& app, Context& context);
void AddUpdateCommand(CLI::App& app, Context& context);
void AddWatchCommand(CLI::App& app, Context& context);

// Adds to `command` a flag --yes, -y, stored in *yes, of a command that asks with Context::Confirm.
void AddYesOption(CLI::App* command, bool* yes);

// Adds to `command` an option --truncate auto|error, stored in *truncate.
void AddTruncateOption(CLI::App* command, Truncate* truncate);

}  // namespace vecino::cli
