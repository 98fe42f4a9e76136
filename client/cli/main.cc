// `vecino`, the command line: parses, runs one command, returns its exit code.
#include <clocale>
#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "client/cli/bench_command.h"
#include "client/cli/context.h"

int main(int argc, char** argv) {
  using vecino::cli::Context;
  std::setlocale(LC_CTYPE, "C.UTF-8");  // for the width of characters
  std::signal(SIGPIPE, SIG_DFL);        // `vecino export … | head` ends quietly

  CLI::App app("Vecino: find documents by meaning.", "vecino");
  app.require_subcommand(1);
  app.fallthrough();  // global options may stand anywhere
  app.option_defaults()->always_capture_default(false);
  app.set_version_flag("--version", VECINO_VERSION);

  Context context;
  app.add_option("--server", context.client_options.server,
                 "HOST:PORT of the server (default 127.0.0.1:7700)")
      ->check(CLI::Validator(
          [](const std::string& server) {
            // Other schemes of gRPC's name resolution, such as unix:PATH and dns:///NAME, stand.
            const size_t colon = server.rfind(':');
            const bool bracket = server.ends_with("]");
            return colon == std::string::npos || colon + 1 == server.size() || bracket
                       ? "`" + server + "` names no port; it must be HOST:PORT, such as " +
                             (server.empty() ? "127.0.0.1"
                                             : server.substr(0, bracket ? server.size() : colon)) +
                             ":7700"
                       : "";
          },
          ""))
      ->envname("VECINO_SERVER");
  app.add_flag("--json", context.json, "Print JSON, one object a line");
  app.add_option(
         "--timeout", context.timeout_seconds,
         "Seconds a call may take, all its attempts together (default 30; load and bench 120, ask, "
         "collection recall and collection tune --queries 600, index export 86400)")
      ->check(CLI::Range(0.001, 86'400.0).description("0.001 to 86400"));

  vecino::cli::AddSearchCommand(app, context);
  vecino::cli::AddAnswerCommand(app, context);
  vecino::cli::AddLoadCommand(app, context);
  vecino::cli::AddCollectionCommands(app, context);
  vecino::cli::AddAliasCommands(app, context);
  vecino::cli::AddIndexCommands(app, context);
  vecino::cli::AddOperationCommands(app, context);
  vecino::cli::AddDocumentCommands(app, context);
  vecino::cli::AddUpdateCommand(app, context);
  vecino::cli::AddChangeCommands(app, context);
  vecino::cli::AddExportCommand(app, context);
  vecino::cli::AddBenchCommand(app, context);
  vecino::cli::AddSnapshotCommands(app, context);
  vecino::cli::AddServerCommands(app, context);
  vecino::cli::AddWatchCommand(app, context);

  try {
    app.parse(argc, argv);
  } catch (const CLI::RequiredError& error) {
    // CLI11 says only that a command is required.
    const std::vector<std::string> words = app.remaining(/*recurse=*/true);
    if (words.empty()) return app.exit(error) == 0 ? 0 : vecino::cli::kUsage;
    std::cerr << "vecino: there is no command `" << words.front()
              << "`; vecino --help lists them, and vecino COMMAND --help what each takes\n";
    return vecino::cli::kUsage;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : vecino::cli::kUsage;  // help and version are 0
  }
  const int code = context.command();
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "vecino: standard output could not be written\n";
    return vecino::cli::kServerSaidNo;
  }
  return code;
}
