#include "server/config.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/generator_url.h"

namespace vecino {
namespace {

constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20, kGiB = 1 << 30, kTiB = int64_t{1} << 40;

absl::Status Bad(const std::string& value, const std::string& allowed) {
  return absl::InvalidArgumentError(absl::StrCat("\"", value, "\" is not ", allowed));
}

std::string PrintBytes(int64_t bytes) {
  for (const auto& [unit, name] : {std::pair{kGiB, "GiB"}, {kMiB, "MiB"}, {kKiB, "KiB"}}) {
    if (bytes >= unit && bytes % unit == 0) return absl::StrCat(bytes / unit, name);
  }
  return absl::StrCat(bytes);
}

bool ParseBytes(absl::string_view text, int64_t* bytes) {
  int64_t unit = 1;
  for (const auto& [name, size] : {std::pair{"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}}) {
    if (absl::ConsumeSuffix(&text, name)) {
      unit = size;
      break;
    }
  }
  return absl::SimpleAtoi(absl::StripAsciiWhitespace(text), bytes) && *bytes >= 0 &&
         *bytes <= std::numeric_limits<int64_t>::max() / unit && (*bytes *= unit, true);
}

// Makers of rows. `range` is generated from what is checked, so the two cannot differ.
Option Integer(std::string section, std::string key, int Config::*field, int low, int high,
               std::string cost, std::string help) {
  const std::string range = absl::StrCat(low, " to ", high);
  const auto parse = [=](Config& config, const std::string& text) {
    int value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < low || value > high) {
      return Bad(text, absl::StrCat("a whole number from ", range));
    }
    config.*field = value;
    return absl::OkStatus();
  };
  const auto print = [=](const Config& config) { return absl::StrCat(config.*field); };
  return {section, key, "N", range, cost, help, false, parse, print};
}

Option Bytes(std::string section, std::string key, int64_t Config::*field, int64_t low,
             int64_t high, std::string cost, std::string help) {
  const std::string range = absl::StrCat(PrintBytes(low), " to ", PrintBytes(high));
  const auto parse = [=](Config& config, const std::string& text) {
    int64_t value = 0;
    if (!ParseBytes(text, &value) || value < low || value > high) {
      return Bad(text, absl::StrCat("a size from ", range, ", such as 64MiB"));
    }
    config.*field = value;
    return absl::OkStatus();
  };
  const auto print = [=](const Config& config) { return PrintBytes(config.*field); };
  return {section, key, "SIZE", range, cost, help, false, parse, print};
}

Option Count(std::string section, std::string key, int64_t Config::*field, int64_t low,
             int64_t high, std::string cost, std::string help) {
  Option option = Bytes(section, key, field, low, high, cost, help);
  option.value_name = "N";
  option.range = absl::StrCat(low, " to ", high);
  option.parse = [=, range = option.range](Config& config, const std::string& text) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < low || value > high) {
      return Bad(text, absl::StrCat("a whole number from ", range));
    }
    config.*field = value;
    return absl::OkStatus();
  };
  option.print = [=](const Config& config) { return absl::StrCat(config.*field); };
  return option;
}

Option Duration(std::string section, std::string key, absl::Duration Config::*field,
                absl::Duration high, std::string cost, std::string help) {
  const std::string range = absl::StrCat("0s to ", absl::FormatDuration(high));
  const auto parse = [=](Config& config, const std::string& text) {
    absl::Duration value;
    if (!absl::ParseDuration(text, &value) || value < absl::ZeroDuration() || value > high) {
      return Bad(text, absl::StrCat("a duration from ", range, ", such as 500ms or 30s"));
    }
    config.*field = value;
    return absl::OkStatus();
  };
  const auto print = [=](const Config& config) { return absl::FormatDuration(config.*field); };
  return {section, key, "TIME", range, cost, help, false, parse, print};
}

Option Choice(std::string section, std::string key, std::string Config::*field,
              std::vector<std::string> choices, std::string cost, std::string help) {
  const std::string range = absl::StrJoin(choices, ", ");
  const auto parse = [=](Config& config, const std::string& text) {
    for (const std::string& choice : choices) {
      if (text == choice) {
        config.*field = choice;
        return absl::OkStatus();
      }
    }
    return Bad(text, absl::StrCat("one of ", range));
  };
  const auto print = [=](const Config& config) { return config.*field; };
  return {section, key, "WORD", range, cost, help, false, parse, print};
}

Option Path(std::string section, std::string key, std::string Config::*field, bool may_be_empty,
            std::string cost, std::string help) {
  const auto parse = [=](Config& config, const std::string& text) {
    if (text.empty() && !may_be_empty) return Bad(text, "a path");
    config.*field = std::string(text);
    return absl::OkStatus();
  };
  const auto print = [=](const Config& config) { return config.*field; };
  return {section, key,   "PATH", may_be_empty ? "a path, or empty for none" : "a path", cost, help,
          false,   parse, print};
}

Option Address(std::string section, std::string key, std::string Config::*field, bool may_be_off,
               std::string cost, std::string help) {
  const std::string range =
      absl::StrCat("HOST:PORT, port 0 to 65535", may_be_off ? ", or off" : "");
  const auto parse = [=](Config& config, const std::string& text) {
    const size_t colon = text.rfind(':');
    int port = -1;
    const bool good = colon != std::string::npos && colon > 0 &&
                      absl::SimpleAtoi(text.substr(colon + 1), &port) && port >= 0 && port <= 65535;
    if (!good && !(may_be_off && text == "off")) {
      return Bad(text, absl::StrCat("an address of the form ", range));
    }
    config.*field = std::string(text);
    return absl::OkStatus();
  };
  const auto print = [=](const Config& config) { return config.*field; };
  return {section, key, "HOST:PORT", range, cost, help, false, parse, print};
}

constexpr size_t kMaxKeyBytes = 4096;

// As a header of HTTP takes it.
bool IsPrintable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 127; });
}

Option Text(std::string section, std::string key, std::string Config::*field, std::string cost,
            std::string help) {
  const auto parse = [=](Config& config, const std::string& text) {
    if (!IsPrintable(text) || text.size() > kMaxKeyBytes) {
      return absl::InvalidArgumentError("the value is not printable ASCII of at most 4096 bytes");
    }
    config.*field = text;
    return absl::OkStatus();
  };
  const auto print = [=](const Config& config) { return config.*field; };
  return {section, key,   "TEXT", "printable ASCII, or empty for none", cost, help,
          false,   parse, print};
}

Option Secret(std::string section, std::string key, std::string Config::*field, std::string cost,
              std::string help) {
  Option option = Text(section, key, field, cost, help);
  option.secret = true;
  return option;
}

Option Url(std::string section, std::string key, std::string Config::*field, std::string cost,
           std::string help) {
  const auto parse = [=](Config& config, const std::string& text) -> absl::Status {
    if (!text.empty()) {
      if (const auto url = ParseGeneratorUrl(text); !url.ok()) return url.status();
    }
    config.*field = text;
    return absl::OkStatus();
  };
  const auto print = [=](const Config& config) { return config.*field; };
  return {section, key,   "URL", "http:// or https://, or empty for none", cost, help,
          false,   parse, print};
}

std::vector<Option> MakeOptions() {
  return {
      Address("server", "listen", &Config::listen, false,
              "anyone who reaches the port can read and write: there is no key yet",
              "Address of the gRPC API. Port 0 takes a free one and logs it."),
      Path("server", "port-file", &Config::port_file, true, "none",
           "File to write the ports to once the server listens and holds the data folder, as JSON: "
           "{\"grpc\": N, \"admin\": N, \"pid\": N}."),
      Integer("server", "workers", &Config::workers, 1, 1024,
              "two threads each; writers wait for the disk and the model in them",
              "Threads that run calls. As many more, of lower priority, run batches of writes."),
      Integer("server", "queue-capacity", &Config::queue_capacity, 1, 1000000,
              "memory of the waiting requests; longer waits before a caller is told to back off",
              "Calls that may wait for a worker; beyond it they get RESOURCE_EXHAUSTED at once."),
      Duration("server", "drain-timeout", &Config::drain_timeout, absl::Hours(1),
               "a slower stop when callers are slow",
               "How long a stop waits for calls under way before it cancels them."),
      Choice(
          "server", "channelz", &Config::channelz, {"loopback", "on", "off"},
          "on: anyone who reaches the port sees the addresses of all callers",
          "Whether gRPC's channelz tells of connections and calls. loopback: only where --listen "
          "is an address that this machine alone reaches."),
      Address("admin", "listen", &Config::admin_listen, true,
              "anyone who reaches the port can do all that can be done by gRPC",
              "Address of the HTTP port with /metrics, /healthz, /readyz, OpenAI's embeddings API "
              "and the RPCs in JSON."),
      Bytes("grpc", "max-message-bytes", &Config::grpc_max_message_bytes, 64 * kKiB, kGiB,
            "memory: every call under way may hold as much",
            "Largest request; a larger one gets RESOURCE_EXHAUSTED."),
      Bytes("grpc", "max-reply-bytes", &Config::grpc_max_reply_bytes, 64 * kKiB, kGiB,
            "clients must raise their own limit as well, which is 4 MiB in every stock gRPC client",
            "Largest reply; a call that would need more gets RESOURCE_EXHAUSTED saying what to "
            "lower."),
      Bytes("grpc", "memory-bytes", &Config::grpc_memory_bytes, 16 * kMiB, kTiB, "memory",
            "Memory for messages in flight; when it is used up, connections are read more slowly."),
      Integer("grpc", "max-streams", &Config::grpc_max_streams, 1, 100000,
              "memory; one client can keep more workers busy",
              "Calls that one connection may have open at once; further ones wait in the client."),
      Choice("grpc", "polling", &Config::grpc_polling, {"epoll", "poll"},
             "poll: a search takes about 4% more processor for each hundred connections",
             "How connections are waited for. With poll each of gRPC's threads looks after its own "
             "ones alone: searches beside writes wait less, for up to some hundred connections."),
      Integer("grpc", "threads", &Config::grpc_threads, 0, 256, "a thread each",
              "Threads that read and write the network; 0 is one per core."),
      Path("data", "dir", &Config::data_dir, false, "none",
           "Folder of everything that is stored; made when missing. One server at a time."),
      Path("model", "root", &Config::model_root, false,
           "each model takes its size in memory, in other precisions as much again",
           "Folder whose subfolders are models; made when missing. Loaded at start."),
      Choice(
          "encoder", "executor", &Config::encoder_executor, {"auto", "torchscript", "fused"},
          "torchscript is slower and has no int8; fused refuses what is no BERT or relative of it",
          "What runs models: auto takes the fused executor where it can."),
      Choice("encoder", "device", &Config::encoder_device, {"cpu", "cuda"},
             "cuda: memory of the device; int8 stays on the CPU",
             "Where models run. cuda needs a build with it (docs/encoder.md); where there is none "
             "the CPU is taken, and a warning logged."),
      Integer("encoder", "executors", &Config::encoder_executors, 0, 256, "a core each",
              "Batches that are embedded at once, and as many of queries beside them; 0 is one per "
              "core, with cuda at most 2."),
      Integer("encoder", "batch-tokens", &Config::encoder_batch_tokens, 0, 1 << 20,
              "memory; other calls wait longer for their turn",
              "Padded tokens in one batch, at most; 0 is 1024, with cuda 16384."),
      Count("encoder", "queue-tokens", &Config::encoder_queue_tokens, 1, int64_t{1} << 40,
            "memory; longer waits before a caller is told to back off",
            "Tokens that may wait for the model; beyond it callers get RESOURCE_EXHAUSTED."),
      Bytes("encoder", "cache-bytes", &Config::encoder_cache_bytes, 0, kTiB, "memory",
            "Cache of query texts and their vectors; 0 keeps none."),
      Bytes("storage", "block-cache-bytes", &Config::storage_block_cache_bytes, 8 * kMiB, kTiB,
            "memory", "Cache of stored documents and vectors."),
      Bytes("storage", "write-buffer-bytes", &Config::storage_write_buffer_bytes, kMiB, 4 * kGiB,
            "memory, per kind of record; a longer replay after a crash",
            "Writes held in memory before they are sorted to disk."),
      Integer(
          "storage", "document-streams", &Config::storage_document_streams, 1, 1024,
          "memory, some MiB each while it reads; what was replaced since they began stays on the "
          "disk",
          "Calls of StreamDocuments that may be open at once; others get RESOURCE_EXHAUSTED."),
      Duration("storage", "document-stream-age", &Config::storage_document_stream_age,
               absl::Hours(168), "what was replaced for as long stays on the disk",
               "How long one of them may take; then it ends with UNAVAILABLE and goes on from its "
               "resume token, at a later moment. 0s: no limit."),
      Integer("index", "tail-capacity", &Config::index_tail_capacity, 1, 10000000,
              "every search scans the tail exactly",
              "Newest rows of a shard that are kept apart before they become a segment."),
      Count("index", "memory-bytes", &Config::index_memory_bytes, 0, int64_t{1} << 50,
            "none; a limit that is too low leaves shards unmerged and slow",
            "Memory that indexes of vectors and of fields may take; builds that would pass it are "
            "refused. 0: no limit."),
      Integer("index", "locked-percent", &Config::index_locked_percent, 0, 90,
              "memory that other programs, and the store's files, cannot have",
              "Share of the memory this process may use that index files are locked in, so that no "
              "search waits for the disk; files beyond it may be dropped by the kernel. 0: none."),
      Bytes("index", "id-cache-bytes", &Config::index_id_cache_bytes, 0, kTiB, "memory",
            "Cache of ids and times of found documents, for searches that return no more."),
      Integer("index", "maintenance-threads", &Config::index_maintenance_threads, 0, 256,
              "cores taken from queries while indexes are built, at the lowest priority",
              "Threads that drain, merge and train; 0 is one per core."),
      Choice("index", "repair", &Config::index_repair, {"auto", "off"},
             "retrains by themselves take a core, at the lowest priority, when they come",
             "Whether a shard of kind AUTO whose rows have changed since its index was trained is "
             "calibrated and trained anew by itself. off: only by RetrainIndex; recall or cost "
             "drifts with the "
             "data."),
      Integer(
          "recall", "sample-every", &Config::recall_sample_every, 0, 1000000000,
          "more exact searches when lower",
          "One in about so many searches is made again exactly, out of the way, to measure recall, "
          "and twenty times as many until it is settled how widely searches look; 0 measures "
          "none."),
      Integer("recall", "samples-per-second", &Config::recall_samples_per_second, 1, 10000,
              "processor time and reads of all vectors: each looks at every row; at most a quarter "
              "of a "
              "processor",
              "Passes over all rows in a second, at most, that make searches again: one search "
              "each, or up to 16 of the same rows until it is settled how widely searches look; "
              "what is beyond is left out."),
      Integer("recall", "window-samples", &Config::recall_window_samples, 50, 100000,
              "memory, 24 bytes each in up to 22 windows of a shard; change is seen later",
              "Latest searches that an estimate of recall is made of."),
      Duration("recall", "window-age", &Config::recall_window_age, absl::Hours(24 * 7),
               "change is seen later", "Age up to which a search counts in an estimate of recall."),
      Url("generator", "url", &Config::generator_url,
          "questions and the texts of documents are sent there",
          "Base URL of a server with OpenAI's chat completions, which answers AnswerQuestion; "
          "without "
          "the /v1/chat/completions."),
      Text("generator", "model", &Config::generator_model, "none",
           "Model to ask for; empty leaves it to the generator."),
      Secret("generator", "key", &Config::generator_key,
             "a flag is seen in the list of processes: use key-file or the environment",
             "Key sent to the generator as a bearer token. Never printed nor logged."),
      Path("generator", "key-file", &Config::generator_key_file, true, "none",
           "File whose first line is the key."),
      Duration("generator", "connect-timeout", &Config::generator_connect_timeout, absl::Hours(1),
               "callers wait longer for the news that there is nobody",
               "Longest time to connect to the generator; 0s is no limit."),
      Duration("generator", "first-token-timeout", &Config::generator_first_token_timeout,
               absl::Hours(24), "a generator that hangs keeps a thread longer",
               "Longest time until an answer begins; 0s is no limit."),
      Duration("generator", "token-timeout", &Config::generator_token_timeout, absl::Hours(24),
               "a generator that hangs keeps a thread longer",
               "Longest silence within an answer; 0s is no limit."),
      Duration("generator", "timeout", &Config::generator_timeout, absl::Hours(24),
               "an answer without end keeps a thread longer",
               "Longest time of a whole answer; 0s is no limit."),
      Integer("generator", "max-tokens", &Config::generator_max_tokens, 1, 100000,
              "longer answers, which take longer",
              "Most tokens of an answer whose caller does not say."),
      Integer("generator", "max-calls", &Config::generator_max_calls, 1, 256,
              "a thread each; what the generator can do at once",
              "Answers that are made at once; further ones get RESOURCE_EXHAUSTED in their end."),
      Choice("log", "level", &Config::log_level, {"debug", "info", "warn", "error"},
             "debug writes a line for every call", "Least grave lines to write, to stderr."),
      Choice("log", "format", &Config::log_format, {"text", "json"}, "none",
             "Lines for people, or one JSON object a line."),
      Duration("log", "slow-call", &Config::log_slow_call, absl::Hours(1), "more lines when lower",
               "Calls that take longer are logged as warnings; 0s logs none."),
  };
}

// A value as it was found, for the message when it is bad.
struct Found {
  std::string value;
  std::string where;
};
using FoundValues = std::map<std::string, Found>;  // by Option::Name

const Option* FindOption(const std::string& name) {
  for (const Option& option : Options()) {
    if (option.Name() == name) return &option;
  }
  return nullptr;
}

absl::Status ReadFile(const std::string& path, FoundValues& found) {
  std::ifstream in(path);
  if (!in) {
    return absl::NotFoundError(absl::StrCat("cannot read the configuration file ", path));
  }
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(in);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
  std::set<std::string> seen;
  for (const CLI::ConfigItem& item : items) {
    if (item.name == "++" || item.name == "--") continue;  // begin and end of a section
    const std::string name = item.fullname();
    const Option* option = FindOption(name);
    if (option == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": unknown key ", name, "; vecinod --print-config shows every key there is"));
    }
    if (!seen.insert(name).second || item.inputs.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", name, " has more than one value"));
    }
    found[name] = {item.inputs.empty() ? "" : item.inputs[0], absl::StrCat(path, ": ", name)};
  }
  return absl::OkStatus();
}

absl::Status ReadEnvironment(const EnvironmentList& environment, FoundValues& found) {
  std::set<std::string> sections;
  for (const Option& option : Options()) {
    sections.insert(absl::StrCat("VECINO_", absl::AsciiStrToUpper(option.section), "_"));
  }
  for (const std::string& entry : environment) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    bool ours = false;
    for (const std::string& section : sections) ours |= absl::StartsWith(pair.first, section);
    if (!ours) continue;
    const Option* match = nullptr;
    for (const Option& option : Options()) {
      if (option.Environment() == pair.first) match = &option;
    }
    if (match == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown environment variable ", pair.first,
                       "; vecinod --help shows every variable there is"));
    }
    if (pair.second.empty()) continue;  // how scripts and containers say "not set"
    found[match->Name()] = {std::string(pair.second),
                            absl::StrCat("environment variable ", pair.first)};
  }
  return absl::OkStatus();
}

}  // namespace

std::string Option::Flag() const {
  return section == "server" ? absl::StrCat("--", key) : absl::StrCat("--", section, "-", key);
}

std::string Option::Environment() const {
  return absl::AsciiStrToUpper(
      absl::StrReplaceAll(absl::StrCat("VECINO_", section, "_", key), {{"-", "_"}}));
}

std::string Option::Name() const { return absl::StrCat(section, ".", key); }

const std::vector<Option>& Options() {
  static const auto& options = *new std::vector<Option>(MakeOptions());
  return options;
}

EnvironmentList ProcessEnvironment() {
  EnvironmentList list;
  for (char** entry = environ; *entry != nullptr; ++entry) list.emplace_back(*entry);
  return list;
}

absl::StatusOr<Invocation> ParseInvocation(const std::vector<std::string>& args,
                                           const EnvironmentList& environment) {
  Invocation invocation;
  CLI::App app;
  app.set_help_flag();
  // A flag given twice: the last one counts, so that scripts can add to a command line.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  bool help = false, version = false, check = false, print = false;
  app.add_flag("-h,--help", help);
  app.add_flag("--version", version);
  app.add_flag("--check-config", check);
  app.add_flag("--print-config", print);
  std::string file;
  const CLI::Option* file_flag = app.add_option("--config", file);
  std::map<std::string, std::string> texts;
  std::map<std::string, const CLI::Option*> flags;
  for (const Option& option : Options()) {
    flags[option.Name()] = app.add_option(option.Flag(), texts[option.Name()]);
  }
  try {
    // CLI11 takes them from the back.
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(error.what(), "; vecinod --help shows every flag there is"));
  }
  if (help) invocation.action = Invocation::Action::kHelp;
  if (version) invocation.action = Invocation::Action::kVersion;
  if (help || version) return invocation;
  if (check) invocation.action = Invocation::Action::kCheckConfig;
  if (print) invocation.action = Invocation::Action::kPrintConfig;

  if (file_flag->count() == 0) {
    for (const std::string& entry : environment) {
      if (absl::StartsWith(entry, "VECINO_CONFIG=")) file = entry.substr(entry.find('=') + 1);
    }
  }
  FoundValues found;
  if (!file.empty()) {
    if (absl::Status status = ReadFile(file, found); !status.ok()) return status;
  }
  if (absl::Status status = ReadEnvironment(environment, found); !status.ok()) return status;
  for (const Option& option : Options()) {
    if (flags[option.Name()]->count() > 0) {
      found[option.Name()] = {texts[option.Name()], absl::StrCat("flag ", option.Flag())};
    }
  }
  for (const auto& [name, value] : found) {
    if (absl::Status status = FindOption(name)->parse(invocation.config, value.value);
        !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(value.where, ": ", status.message()));
    }
  }
  if (const auto key = GeneratorKey(invocation.config); !key.ok()) return key.status();
  return invocation;
}

absl::StatusOr<std::string> GeneratorKey(const Config& config) {
  const std::string& path = config.generator_key_file;
  if (path.empty()) return config.generator_key;
  if (!config.generator_key.empty()) {
    return absl::InvalidArgumentError(
        "generator.key and generator.key-file are both set; leave one of them out");
  }
  std::ifstream in(path);
  std::string key;
  if (!std::getline(in, key)) {
    return absl::InvalidArgumentError(
        absl::StrCat("generator.key-file: cannot read a line of ", path));
  }
  key = std::string(absl::StripAsciiWhitespace(key));
  if (key.empty() || key.size() > kMaxKeyBytes || !IsPrintable(key)) {
    return absl::InvalidArgumentError(
        absl::StrCat("generator.key-file: the first line of ", path,
                     " is no key: it must be printable ASCII of 1 to ", kMaxKeyBytes, " bytes"));
  }
  return key;
}

std::string HelpText() {
  std::string help =
      "vecinod: the Vecino vector database server\n\n"
      "usage: vecinod [--config FILE] [OPTIONS]\n\n"
      "A flag goes over an environment variable, which goes over the file (--config or\n"
      "VECINO_CONFIG; TOML with a [section] for each group), which goes over the default.\n\n"
      "  -h, --help        this text\n"
      "  --version         the version\n"
      "  --config FILE     read options from FILE\n"
      "  --check-config    check the configuration and exit: 0 good, 2 not\n"
      "  --print-config    print the configuration in force as a file and exit\n\n";
  const Config defaults;
  for (const Option& option : Options()) {
    const std::string value = option.print(defaults);
    absl::StrAppend(&help, "  ", option.Flag(), " ", option.value_name, "\n      ", option.help,
                    "\n      Default: ", value.empty() ? "none" : value, ". Range: ", option.range,
                    ". Environment: ", option.Environment(), "\n");
  }
  return help;
}

std::string PrintConfig(const Config& config) {
  std::string text;
  std::string section;
  for (const Option& option : Options()) {
    if (option.section != section) {
      section = option.section;
      absl::StrAppend(&text, text.empty() ? "" : "\n", "[", section, "]\n");
    }
    if (option.secret) {
      absl::StrAppend(&text, "# ", option.key,
                      option.print(config).empty() ? ": not set\n" : ": set, not shown\n");
      continue;
    }
    const std::string value =
        absl::StrReplaceAll(option.print(config), {{"\\", "\\\\"}, {"\"", "\\\""}});
    absl::StrAppend(&text, option.key, " = \"", value, "\"\n");
  }
  return text;
}

std::string OptionsMarkdown() {
  std::string text =
      "| flag | environment | default | range | what it is | what a higher value costs | without "
      "restart |\n|---|---|---|---|---|---|---|\n";
  const Config defaults;
  for (const Option& option : Options()) {
    const std::string value = option.print(defaults);
    absl::StrAppend(&text, "| `", option.Flag(), "` | `", option.Environment(), "` | ",
                    value.empty() ? "none" : absl::StrCat("`", value, "`"), " | ", option.range,
                    " | ", option.help, " | ", option.cost, " | ", option.live ? "yes" : "no",
                    " |\n");
  }
  return text;
}

}  // namespace vecino
