#include "client/cli/context.h"

#include <algorithm>
#include <iostream>
#include <map>

#include "client/cli/terminal.h"

namespace vecino::cli {

Client& Context::client(std::chrono::milliseconds default_timeout) {
  if (client_ == nullptr) {
    client_options.timeout = default_timeout;
    if (timeout_seconds) {
      client_options.timeout =
          std::chrono::milliseconds(static_cast<int64_t>(*timeout_seconds * 1'000));
    }
    client_ = std::make_unique<Client>(client_options);
  }
  return *client_;
}

int Context::Fail(const std::string& what, const Status& status) {
  if (status.code() == Code::kUnavailable || status.code() == Code::kDeadlineExceeded) {
    ClientOptions probe = client_options;
    probe.timeout = std::chrono::seconds(2);
    probe.max_attempts = 1;
    const Result<std::string> health = Client(probe).Health();
    if (!health.ok() && (health.status().code() == Code::kUnavailable ||
                         health.status().code() == Code::kDeadlineExceeded)) {
      // gRPC's own words for an answer in HTTP/1.
      if (health.status().message().find("http1.x server") != std::string::npos) {
        std::cerr
            << "vecino: " << client_options.server
            << " speaks HTTP, not gRPC: it looks like a server's admin port. The command line "
               "needs the gRPC port, 7700 unless the server was told otherwise (--listen).\n";
        return kNoConnection;
      }
      std::cerr << "vecino: cannot connect to " << client_options.server << ": "
                << Printable(status.message())
                << "\nIs vecinod running there? Name another with --server HOST:PORT or "
                   "VECINO_SERVER.\n";
      return kNoConnection;
    }
  }
  std::cerr << "vecino: " << Printable(what) << ": " << Printable(status.ToString()) << '\n';
  return kServerSaidNo;
}

int Context::Confirm(bool yes, const std::function<std::string()>& question) {
  if (yes) return 0;
  if (!StdinIsTerminal() || !StderrIsTerminal()) {
    return UsageError(
        "nothing was done: this cannot be undone, and there is no terminal to ask on; say --yes");
  }
  std::cerr << question() << " [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return 0;
  std::cerr << "vecino: nothing was done\n";
  return kServerSaidNo;
}

int UsageError(const std::string& message) {
  std::cerr << "vecino: " << message << '\n';
  return kUsage;
}

void AddYesOption(CLI::App* command, bool* yes) {
  command->add_flag("--yes,-y", *yes, "Do not ask; needed where there is no terminal to ask on");
}

void AddTruncateOption(CLI::App* command, Truncate* truncate) {
  static const std::map<std::string, Truncate> kModes{{"auto", Truncate::kAuto},
                                                      {"error", Truncate::kError}};
  command
      ->add_option("--truncate", *truncate,
                   "What to do with text beyond the model's window: cut it (auto, the default) or "
                   "refuse it (error)")
      ->transform(CLI::CheckedTransformer(kModes, CLI::ignore_case).description("auto|error"));
}

}  // namespace vecino::cli
