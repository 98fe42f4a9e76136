// What vecinod can be told: one table of options, read from flags, environment and a file.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vecino {

// The settings of one server. The defaults are those of the table.
struct Config {
  std::string listen = "127.0.0.1:7700";
  std::string port_file;  // empty: none
  int workers = 32;
  int queue_capacity = 1024;
  absl::Duration drain_timeout = absl::Seconds(30);
  std::string channelz = "loopback";  // or "on", "off"

  std::string admin_listen = "127.0.0.1:7701";  // "off": no admin port

  int64_t grpc_max_message_bytes = 16 << 20;
  int64_t grpc_max_reply_bytes = 4 << 20;
  int64_t grpc_memory_bytes = 512 << 20;
  int grpc_max_streams = 256;
  std::string grpc_polling = "epoll";
  int grpc_threads = 0;  // 0: one per core

  std::string data_dir = "vecino-data";
  std::string model_root = "models";

  std::string encoder_executor = "auto";
  std::string encoder_device = "cpu";
  int encoder_executors = 0;     // 0: one per core
  int encoder_batch_tokens = 0;  // 0: by the device
  int64_t encoder_queue_tokens = 4 << 20;
  int64_t encoder_cache_bytes = 32 << 20;

  int64_t storage_block_cache_bytes = 256 << 20;
  int64_t storage_write_buffer_bytes = 64 << 20;
  int storage_document_streams = 16;
  absl::Duration storage_document_stream_age = absl::Hours(1);  // 0: no limit

  int index_tail_capacity = 2048;
  int64_t index_memory_bytes = 0;  // 0: no limit
  int index_locked_percent = 50;
  int64_t index_id_cache_bytes = 64 << 20;
  int index_maintenance_threads = 0;  // 0: one per core
  std::string index_repair = "auto";  // or "off"

  int recall_sample_every = 1000;  // 0: off
  int recall_samples_per_second = 2;
  int recall_window_samples = 1000;
  absl::Duration recall_window_age = absl::Hours(1);

  std::string generator_url;  // empty: there is none
  std::string generator_model;
  std::string generator_key;  // see GeneratorKey
  std::string generator_key_file;
  absl::Duration generator_connect_timeout = absl::Seconds(5);
  absl::Duration generator_first_token_timeout = absl::Minutes(2);
  absl::Duration generator_token_timeout = absl::Seconds(30);
  absl::Duration generator_timeout = absl::Minutes(10);
  int generator_max_tokens = 1024;
  int generator_max_calls = 8;

  std::string log_level = "info";
  std::string log_format = "text";
  absl::Duration log_slow_call = absl::Seconds(1);
};

// One row of the table.
struct Option {
  std::string section;  // of the file, and second part of the environment variable
  std::string key;
  std::string value_name;  // of the value in --help, such as BYTES
  std::string range;       // what is allowed, in words
  std::string cost;        // what a higher value costs, or what to think of
  std::string help;
  bool live = false;  // whether it can be changed without a restart
  // Sets the field; the error says what is allowed. Never throws.
  std::function<absl::Status(Config&, const std::string&)> parse;
  // The field as text that `parse` takes.
  std::function<std::string(const Config&)> print;
  bool secret = false;  // its value is never printed for people

  std::string Flag() const;         // such as --data-dir; those of section `server` are without it
  std::string Environment() const;  // such as VECINO_DATA_DIR
  std::string Name() const;         // such as data.dir
};

// Every option there is, in order of section.
const std::vector<Option>& Options();

// What a command line asks for.
struct Invocation {
  enum class Action { kRun, kCheckConfig, kPrintConfig, kVersion, kHelp };
  Action action = Action::kRun;
  Config config;
};

// Reads the environment: all variables as NAME=value. Injected so that tests can say what it holds.
using EnvironmentList = std::vector<std::string>;
EnvironmentList ProcessEnvironment();

// Flag over environment over file (--config or VECINO_CONFIG) over default. INVALID_ARGUMENT naming
// where the fault stands, for a value out of range, an unknown flag, an unknown key of the file,
// and an unknown variable VECINO_<SECTION>_… of a section that exists. NOT_FOUND: the file cannot
// be read.
absl::StatusOr<Invocation> ParseInvocation(const std::vector<std::string>& args,
                                           const EnvironmentList& environment);

// The key for the generator: generator.key, or the first line of generator.key-file; empty when
// neither is set. INVALID_ARGUMENT when both are, or when the file cannot be read or holds no key.
// ParseInvocation has looked, too.
absl::StatusOr<std::string> GeneratorKey(const Config& config);

// The text of --help.
std::string HelpText();

// The configuration as a file that --config reads back, without secrets: a comment stands for each.
std::string PrintConfig(const Config& config);

// The table as it stands in docs/operations.md.
std::string OptionsMarkdown();

}  // namespace vecino
