#include "server/rpc/async_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "server/rpc/listen_error.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// Wishes for calls of one method outstanding on one queue; each holds about a kilobyte. A few, so
// that a burst need not wait for the queue's thread between calls.
constexpr int kOutstanding = 4;
constexpr int kWarningsPerSecond = 20;
// Time for the last bytes of health and replies to leave before connections are cut.
constexpr absl::Duration kFlush = absl::Milliseconds(200);

// Names that health knows besides `""` and the services.
constexpr const char* kHealthNames[] = {"vecino.read", "vecino.write"};

}  // namespace

AsyncServer::AsyncServer(const ServerOptions& options, Metrics* metrics)
    : metrics_(*metrics),
      warnings_(kWarningsPerSecond),
      workers_(options.workers, options.queue_capacity) {
  for (const auto* descriptor : Services()) {
    services_.push_back(std::make_unique<RawService>(*descriptor));
    for (int i = 0; i < descriptor->method_count(); ++i) {
      slots_.push_back(std::make_unique<MethodSlot>(MethodPath(*descriptor->method(i)), metrics,
                                                    options.slow_call, &warnings_));
    }
  }
}

absl::StatusOr<std::unique_ptr<AsyncServer>> AsyncServer::Start(const ServerOptions& options,
                                                                Metrics* metrics) {
  std::unique_ptr<AsyncServer> server(new AsyncServer(options, metrics));
  if (absl::Status status = server->Listen(options); !status.ok()) return status;
  return server;
}

absl::Status AsyncServer::Listen(const ServerOptions& options) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  grpc::ResourceQuota quota("vecinod");
  quota.Resize(static_cast<size_t>(options.memory_bytes));
  builder.SetResourceQuota(quota);
  // Without this a second server on the same port would silently take half of the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  // Clients behind load balancers ping idle connections; gRPC would take it for abuse.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
  // Reflection is the only synchronous service.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
  for (const auto& service : services_) builder.RegisterService(service.get());
  const int threads = options.threads > 0
                          ? options.threads
                          : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  for (int i = 0; i < threads; ++i) queues_.push_back(builder.AddCompletionQueue());

  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    if (server_ != nullptr) server_->Shutdown();
    server_ = nullptr;
    return WhyNotListening(options.listen);
  }
  metrics_.gauge("vecino_rpc_queue_depth", "Calls waiting for a worker.", {},
                 [this] { return workers_.queued(); });
  metrics_.gauge("vecino_rpc_in_flight", "Calls received and not answered.", {},
                 [this] { return active_.load(); });
  // Health starts out as SERVING; nobody can have asked in the microseconds since.
  SetHealth(false);
  for (const auto& queue : queues_) {
    int slot = 0;
    for (size_t s = 0; s < services_.size(); ++s) {
      for (int m = 0; m < Services()[s]->method_count(); ++m, ++slot) {
        for (int i = 0; i < kOutstanding; ++i) {
          UnaryCall::Request(this, services_[s].get(), m, slots_[slot].get(), queue.get());
        }
      }
    }
    pollers_.emplace_back([this, queue = queue.get()] { PollQueue(queue); });
  }
  return absl::OkStatus();
}

AsyncServer::~AsyncServer() { Drain(absl::ZeroDuration()); }

void AsyncServer::SetHealth(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  for (const auto* service : Services()) {
    health->SetServingStatus(std::string(service->full_name()), serving);
  }
  for (const char* name : kHealthNames) health->SetServingStatus(name, serving);
  health->SetServingStatus("", serving);
}

void AsyncServer::Serve(MethodTable methods) {
  for (const auto& slot : slots_) {
    if (auto method = methods.find(slot->path); method != methods.end()) {
      slot->run = std::move(method->second);
    }
  }
  State loading = State::kLoading;
  if (state_.compare_exchange_strong(loading, State::kServing)) SetHealth(true);
}

void AsyncServer::PollQueue(grpc::ServerCompletionQueue* queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) UnaryCall::HandleEvent(tag, ok);
}

void AsyncServer::OnReceived(UnaryCall* call) {
  absl::ReaderMutexLock lock(&queues_mutex_);
  active_.fetch_add(1);
  if (queues_closed_) {
    call->Abandon();
    active_.fetch_sub(1);
    return;
  }
  UnaryCall::Request(this, call->service(), call->method(), call->tag_data(), call->queue());
  const State state = state_.load();
  if (state != State::kServing) {
    call->Finish({}, ToGrpcStatus(absl::UnavailableError(
                         state == State::kLoading
                             ? "the server is loading its collections; try again shortly"
                             : "the server is stopping; try again shortly")));
  } else if (!workers_.TrySubmit([this, call] { RunCall(call); })) {
    call->Finish(
        {}, ToGrpcStatus(absl::ResourceExhaustedError(
                Concat("the server's queue is full: ", workers_.capacity(), " calls wait for ",
                       workers_.threads(),
                       " workers (server.queue-capacity, server.workers); back off and repeat"))));
  }
}

void AsyncServer::RunCall(UnaryCall* call) {
  grpc::ByteBuffer reply;
  const absl::Status status = TryRun(call, &reply);
  call->Finish(reply, ToGrpcStatus(status));
}

absl::Status AsyncServer::TryRun(UnaryCall* call, grpc::ByteBuffer* reply) {
  const engine::CallContext context = call->engine_context();
  const auto* slot = static_cast<const MethodSlot*>(call->tag_data());
  // Nobody waits for it any more: a queue that is too long must not fill the server with dead work.
  if (context.stop.stop_requested()) return absl::CancelledError("the caller cancelled");
  if (absl::Now() >= context.deadline) {
    return absl::DeadlineExceededError("the deadline passed while the call waited for a worker");
  }
  if (slot->run == nullptr) return absl::UnimplementedError(Concat(slot->path, " is missing"));
  return slot->run(call->request(), reply, context);
}

void AsyncServer::OnFinished(UnaryCall* call) {
  static_cast<MethodSlot*>(call->tag_data())
      ->observer.Finished(call->status(), absl::Now() - call->received(),
                          [call] { return call->peer(); });
  if (active_.fetch_sub(1) == 1 && state_.load() == State::kDraining) {
    absl::MutexLock lock(&drain_mutex_);
    drain_progress_.Signal();
  }
}

void AsyncServer::Hurry() {
  absl::MutexLock lock(&drain_mutex_);
  hurry_ = true;
  drain_progress_.Signal();
}

bool AsyncServer::Drain(absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  bool complete = true;
  {
    absl::MutexLock lock(&drain_mutex_);
    if (drained_) return true;
    drained_ = true;
  }
  if (server_ != nullptr) {
    SetHealth(false);
    state_.store(State::kDraining);
    {
      absl::MutexLock lock(&drain_mutex_);
      while (active_.load() > 0 && !hurry_ && absl::Now() < deadline) {
        drain_progress_.WaitWithDeadline(&drain_mutex_, deadline);
      }
      complete = active_.load() == 0;
    }
    // Cancels what is left, health watches among it, and waits for it.
    server_->Shutdown(absl::ToChronoTime(absl::Now() + kFlush));
  }
  workers_.Shutdown();
  {
    absl::MutexLock lock(&queues_mutex_);
    queues_closed_ = true;
  }
  for (const auto& queue : queues_) queue->Shutdown();
  for (std::thread& poller : pollers_) poller.join();
  if (pollers_.empty()) {
    // Never started: the queues must be emptied all the same.
    for (const auto& queue : queues_) PollQueue(queue.get());
  }
  return complete;
}

}  // namespace vecino::rpc
