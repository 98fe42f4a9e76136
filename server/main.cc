// vecinod: puts the rooms together, and takes them apart in order.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "encoder/encoder.h"
#include "server/admin_http.h"
#include "server/blas_environment.h"
#include "server/config.h"
#include "server/data_dir.h"
#include "server/engine/engine.h"
#include "server/generator_url.h"
#include "server/http_generator.h"
#include "server/logging.h"
#include "server/metrics.h"
#include "server/rpc/async_server.h"
#include "server/rpc/json_api.h"
#include "server/rpc/library_logs.h"
#include "server/rpc/loopback.h"
#include "server/rpc/openai_api.h"
#include "server/rpc/openapi.h"
#include "server/stop_deadline.h"
#include "server/stop_signal.h"
#include "storage/store.h"

#ifndef VECINO_VERSION
#error "VECINO_VERSION is set by CMake"
#endif

namespace vecino {
namespace {

// docs/operations.md lists these.
enum ExitCode {
  kStopped = 0,
  kFailed = 1,
  kBadUsage = 2,
  kCannotListen = 3,
  kDataDirUnusable = 4,
  kDiskFull = 5,
  kDataDamaged = 6,
};

// What a stop may take beside --drain-timeout: mostly the flush of the store to a slow disk.
constexpr absl::Duration kStopGrace = absl::Seconds(20);

ExitCode Fail(ExitCode code, const absl::Status& status) {
  spdlog::error("{}", std::string(status.message()));
  return code;
}

ExitCode ExitCodeOfStore(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) return kDiskFull;
  if (absl::IsDataLoss(status)) return kDataDamaged;
  if (absl::IsFailedPrecondition(status) || absl::IsPermissionDenied(status)) {
    return kDataDirUnusable;
  }
  return kFailed;
}

rpc::ServerOptions ServerOptionsOf(const Config& config) {
  return {.listen = config.listen,
          .threads = config.grpc_threads,
          .workers = config.workers,
          .queue_capacity = config.queue_capacity,
          .max_message_bytes = config.grpc_max_message_bytes,
          .memory_bytes = config.grpc_memory_bytes,
          .max_streams = config.grpc_max_streams,
          .channelz = config.channelz == "on" ||
                      (config.channelz == "loopback" && rpc::IsLoopback(config.listen)),
          .slow_call = config.log_slow_call};
}

void AddEncoderMetrics(Metrics& metrics, engine::Engine* engine) {
  using Stats = encoder::EncoderStats;
  const auto counter = [&](const char* name, const char* help, double (*read)(const Stats&)) {
    metrics.counter_from(name, help, {}, [=] { return read(engine->EncoderStats()); });
  };
  counter("vecino_encoder_texts_total", "Texts embedded.",
          [](const Stats& stats) { return static_cast<double>(stats.texts); });
  counter("vecino_encoder_tokens_total", "Tokens embedded, without padding.",
          [](const Stats& stats) { return static_cast<double>(stats.tokens); });
  counter("vecino_encoder_padded_tokens_total", "Tokens embedded, with padding.",
          [](const Stats& stats) { return static_cast<double>(stats.padded_tokens); });
  counter("vecino_encoder_batches_total", "Batches run by the model.",
          [](const Stats& stats) { return static_cast<double>(stats.batches); });
  counter("vecino_encoder_tokenize_seconds_total", "CPU time spent on tokenizing.",
          [](const Stats& stats) { return stats.tokenize_seconds; });
  counter("vecino_encoder_compute_seconds_total", "Time executors spent in the model, summed.",
          [](const Stats& stats) { return stats.compute_seconds; });
  counter("vecino_encoder_rejected_total", "Calls refused because the encoder's queue was full.",
          [](const Stats& stats) { return static_cast<double>(stats.rejected); });
  counter("vecino_encoder_cache_hits_total", "Query texts whose vectors were in the cache.",
          [](const Stats& stats) { return static_cast<double>(stats.cache_hits); });
  counter("vecino_encoder_cache_misses_total", "Query texts that had to be embedded.",
          [](const Stats& stats) { return static_cast<double>(stats.cache_misses); });
  metrics.gauge("vecino_encoder_cache_bytes", "Memory of the cache of query texts and vectors.", {},
                [=] { return static_cast<double>(engine->EncoderStats().cache_bytes); });
  metrics.gauge("vecino_encoder_queued_tokens", "Tokens waiting for the model.", {},
                [=] { return static_cast<double>(engine->EncoderStats().queued_tokens); });
}

void AddProcessMetrics(Metrics& metrics, absl::Time start) {
  metrics.gauge("vecino_build_info", "Always 1; the labels say what runs.",
                {{"version", VECINO_VERSION}}, [] { return 1; });
  metrics.gauge("vecino_process_resident_bytes", "Memory the process holds.", {},
                [] { return static_cast<double>(rpc::ResidentBytes()); });
  metrics.gauge("vecino_process_start_time_seconds", "When it started, since the Unix epoch.", {},
                [=] { return absl::ToDoubleSeconds(start - absl::UnixEpoch()); });
}

// Null when none is configured.
absl::StatusOr<std::unique_ptr<HttpGenerator>> MakeGenerator(const Config& config,
                                                             Metrics* metrics) {
  if (config.generator_url.empty()) return nullptr;
  auto url = ParseGeneratorUrl(config.generator_url);
  if (!url.ok()) return url.status();
  auto key = GeneratorKey(config);
  if (!key.ok()) return key.status();
  const auto time = [](absl::Duration of) {
    return of == absl::ZeroDuration() ? absl::InfiniteDuration() : of;
  };
  spdlog::info("questions are answered by the generator at {}", url->text);
  return HttpGenerator::Create({.url = *std::move(url),
                                .model = config.generator_model,
                                .key = *std::move(key),
                                .connect_timeout = time(config.generator_connect_timeout),
                                .first_token_timeout = time(config.generator_first_token_timeout),
                                .token_timeout = time(config.generator_token_timeout),
                                .timeout = time(config.generator_timeout),
                                .max_tokens = config.generator_max_tokens,
                                .max_calls = config.generator_max_calls},
                               metrics);
}

std::string WhyNotReady(rpc::AsyncServer::State state) {
  switch (state) {
    case rpc::AsyncServer::State::kLoading:
      return "loading";
    case rpc::AsyncServer::State::kServing:
      return "";
    case rpc::AsyncServer::State::kDraining:
      return "stopping";
  }
  return "unknown";
}

CallCallbacks CallsOf(rpc::JsonApi& api, const Config& config) {
  return {.max_body_bytes = static_cast<size_t>(config.grpc_max_message_bytes),
          .call = [&api](const rpc::HttpCall& call) { return api.Call(call); },
          .refusal = [&api](std::string_view path, int status,
                            std::string_view why) { return api.Refusal(path, status, why); },
          .description = [] { return rpc::OpenApiDocument(VECINO_VERSION); }};
}

ExitCode Run(const Config& config, absl::Time start) {
  // Read once, when gRPC is first used. Before there are threads.
  if (config.grpc_polling == "poll") setenv("GRPC_POLL_STRATEGY", "poll", /*overwrite=*/1);
  StopSignal stop;
  // Lives the longest of all that follows, so that closing the store has its deadline too.
  StopDeadline stop_deadline([] {
    spdlog::error(
        "the stop does not come to its end; ending the process: what was answered is stored");
    spdlog::shutdown();
    _exit(kFailed);
  });
  spdlog::info("vecinod {} pid {}: {}", VECINO_VERSION, getpid(), DescribeCpu());
  for (const std::string& folder : {config.data_dir, config.model_root}) {
    if (absl::Status status = PrepareFolder(folder); !status.ok()) {
      // A model root that is only readable is fine.
      if (folder == config.model_root && access(folder.c_str(), R_OK | X_OK) == 0) continue;
      return Fail(ExitCodeOfStore(status), status);
    }
  }

  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  // Listen first: a port that is taken is found before the data is touched, and callers learn
  // that the server is loading.
  auto server = rpc::AsyncServer::Start(ServerOptionsOf(config), metrics.get());
  if (!server.ok()) return Fail(kCannotListen, server.status());
  rpc::OpenAiApi api(metrics.get(), config.log_slow_call);
  rpc::JsonApi json_api(server->get(), static_cast<size_t>(config.grpc_max_message_bytes));
  std::unique_ptr<AdminHttp> admin;
  if (config.admin_listen != "off") {
    auto started = AdminHttp::Start(
        config.admin_listen,
        {.metrics = [metrics = metrics.get()] { return metrics->Expose(); },
         .not_ready = [server = server->get()] { return WhyNotReady(server->state()); },
         .api =
             ApiCallbacks{
                 .embeddings = [&](std::string_view body) { return api.Embeddings(body); },
                 .rerank = [&](std::string_view body) { return api.Rerank(body); },
                 .models = [&] { return api.Models(); },
                 .refusal = [&](std::string_view path, int status,
                                std::string_view why) { return api.Refusal(path, status, why); },
                 .calls = CallsOf(json_api, config)}});
    if (!started.ok()) return Fail(kCannotListen, started.status());
    admin = *std::move(started);
  }
  spdlog::info("listening: gRPC port {}, admin port {}", (*server)->port(),
               admin ? std::to_string(admin->port()) : "off");
  // Until the server serves nothing has been promised to anyone, and the store survives any end: so
  // a signal while it loads ends the process at once.
  stop.OnSignal([](int signal, int) {
    spdlog::info("signal {} while loading: stopped", signal);
    spdlog::shutdown();
    _exit(kStopped);
  });

  const auto log = [](std::string_view line) { spdlog::info("{}", line); };
  const auto warn = [](std::string_view line) { spdlog::warn("{}", line); };
  auto store = storage::Store::Open(
      {.path = config.data_dir + "/store",
       .block_cache_bytes = static_cast<size_t>(config.storage_block_cache_bytes),
       .write_buffer_bytes = static_cast<size_t>(config.storage_write_buffer_bytes),
       .warn = warn});
  if (!store.ok()) return Fail(ExitCodeOfStore(store.status()), store.status());
  // Only now: a second server must not take the place of the one that holds the data folder.
  if (!config.port_file.empty()) {
    const std::string json =
        absl::StrCat("{\"grpc\": ", (*server)->port(), ", \"admin\": ", admin ? admin->port() : 0,
                     ", \"pid\": ", getpid(), "}\n");
    if (absl::Status status = WriteFileAtOnce(config.port_file, json); !status.ok()) {
      return Fail(ExitCodeOfStore(status), status);
    }
  }
  int refused = 0;  // model folders
  auto encoder = encoder::OpenEncoder({.model_root = config.model_root,
                                       .executor = config.encoder_executor,
                                       .device = config.encoder_device,
                                       .executors = config.encoder_executors,
                                       .batch_tokens = config.encoder_batch_tokens,
                                       .queue_tokens = config.encoder_queue_tokens,
                                       .cache_bytes = config.encoder_cache_bytes,
                                       .log = log,
                                       .warn = [&](std::string_view line) {
                                         ++refused;
                                         warn(line);
                                       }});
  if (!encoder.ok()) return Fail(kFailed, encoder.status());
  if ((*encoder)->Models().empty()) {
    spdlog::warn("no usable model in {}{}: collections take vectors only", config.model_root,
                 refused == 0 ? ""
                              : absl::StrCat(" (", refused, refused == 1 ? " folder" : " folders",
                                             " refused, see above)"));
  }
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  auto engine = engine::Engine::Open(
      {.tail_capacity = config.index_tail_capacity,
       .maintenance_threads =
           config.index_maintenance_threads > 0 ? config.index_maintenance_threads : cores,
       .load_threads = 0,
       .index_folder = config.data_dir + "/index",
       .head_cache_bytes = static_cast<size_t>(config.index_id_cache_bytes),
       .index_memory_bytes = config.index_memory_bytes,
       .index_locked_percent = config.index_locked_percent,
       .snapshot_folder = config.data_dir + "/snapshots",
       .server_version = VECINO_VERSION,
       .maintenance = {.repair = config.index_repair == "auto"},
       .document_streams = config.storage_document_streams,
       .document_stream_age = config.storage_document_stream_age > absl::ZeroDuration()
                                  ? config.storage_document_stream_age
                                  : absl::InfiniteDuration(),
       .recall = {.sample_every = config.recall_sample_every,
                  .samples_per_second = static_cast<double>(config.recall_samples_per_second),
                  .window = {.samples = static_cast<size_t>(config.recall_window_samples),
                             .age = config.recall_window_age}}},
      store->get(), encoder->get(), metrics.get());
  if (!engine.ok()) return Fail(ExitCodeOfStore(engine.status()), engine.status());
  AddEncoderMetrics(*metrics, engine->get());
  AddProcessMetrics(*metrics, start);

  auto generator = MakeGenerator(config, metrics.get());
  if (!generator.ok()) return Fail(kBadUsage, generator.status());

  const absl::Duration load_time = absl::Now() - start;
  rpc::Handlers handlers(engine->get(), &(*server)->workers(),
                         {.version = VECINO_VERSION,
                          .data_dir = config.data_dir,
                          .cpu = DescribeCpu(),
                          .start_time = start,
                          .load_duration = load_time},
                         static_cast<size_t>(config.grpc_max_reply_bytes),
                         &(*server)->bulk_workers(), generator->get());
  rpc::EmbeddingHandlers embedding(engine->get(), static_cast<size_t>(config.grpc_max_reply_bytes));
  stop.OnSignal([server = server->get(), &api, &stop_deadline](int signal, int count) {
    if (count > 1) {
      spdlog::warn("signal {} again: not waiting for calls under way", signal);
      stop_deadline.Begin(kStopGrace);
      server->Hurry();
      api.Hurry();
    }
  });
  (*server)->Serve(handlers.Methods(), handlers.Streams(), handlers.Shorts(), rpc::Handlers::Bulk(),
                   handlers.Bidis());
  api.Open(&embedding);
  spdlog::info("serving {} collections after {}", (*engine)->ListCollections().size(),
               absl::FormatDuration(absl::Trunc(load_time, absl::Milliseconds(1))));

  const int signal = stop.Wait();
  spdlog::info("signal {}: draining, at most {}", signal,
               absl::FormatDuration(config.drain_timeout));
  stop_deadline.Begin(config.drain_timeout + kStopGrace);
  (*engine)->BeginShutdown();  // calls that wait for others to be done shall not use that time up
  const absl::Time patience_ends = absl::Now() + config.drain_timeout;
  api.Close();
  const bool in_time = (*server)->Drain(config.drain_timeout);
  if (!api.Wait(patience_ends) || !in_time) {
    spdlog::warn("calls were cancelled before they were done");
  }
  stop.OnSignal(nullptr);
  (*engine)->Shutdown();
  (*encoder)->Shutdown();
  metrics->RemoveCallbacks();
  generator->reset();
  admin.reset();
  spdlog::info("stopped");
  return kStopped;
}

int Main(int argc, char** argv) {
  // Debian's absl looks for lock cycles under one global lock at every Lock and Unlock, of gRPC's
  // mutexes too.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const std::string blas_problem = EnsureBlasEnvironment(argv);
  const absl::Time start = absl::Now();
  auto invocation =
      ParseInvocation(std::vector<std::string>(argv + 1, argv + argc), ProcessEnvironment());
  if (!invocation.ok()) {
    std::fprintf(stderr, "vecinod: %s\n", std::string(invocation.status().message()).c_str());
    return kBadUsage;
  }
  switch (invocation->action) {
    case Invocation::Action::kHelp:
      std::fputs(HelpText().c_str(), stdout);
      return kStopped;
    case Invocation::Action::kVersion:
      std::printf("vecinod %s\n", VECINO_VERSION);
      return kStopped;
    case Invocation::Action::kPrintConfig:
      std::fputs(PrintConfig(invocation->config).c_str(), stdout);
      return kStopped;
    case Invocation::Action::kCheckConfig:
      std::puts("the configuration is good");
      return kStopped;
    case Invocation::Action::kRun:
      break;
  }
  SetUpLogging(invocation->config);
  rpc::RouteLibraryLogs();
  if (!blas_problem.empty()) spdlog::warn("{}", blas_problem);
  const ExitCode code = Run(invocation->config, start);
  spdlog::shutdown();
  return code;
}

}  // namespace
}  // namespace vecino

int main(int argc, char** argv) { return vecino::Main(argc, argv); }
