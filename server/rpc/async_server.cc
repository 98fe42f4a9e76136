#include "server/rpc/async_server.h"

#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <type_traits>
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
// A third of a search's weight: a search that comes takes the processor from a batch soon, and
// where searches take all there is a commit, which some of them wait for, is slowed threefold and
// no more. 10, a tenth, was no better (docs/index.md, "Making way").
constexpr int kBulkNice = 5;
// Time for the last bytes of health and replies to leave before connections are cut.
constexpr absl::Duration kFlush = absl::Milliseconds(200);
// For streams to send the message they are at, when the server stops.
constexpr absl::Duration kStreamPatience = absl::Seconds(1);

// How often a server that stops looks whether the caller of a stream has stopped to read.
constexpr absl::Duration kLook = absl::Milliseconds(100);

constexpr const char* kStopping = "the server is stopping; try again shortly";

// Names that health knows besides `""` and the services.
constexpr const char* kHealthNames[] = {"vecino.read", "vecino.write"};

// Plugins are the whole process', so a server that is not to have channelz takes it away.
class WithoutChannelz final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* arguments) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& one) { return one->name() == "channelz_service"; });
  }
};

}  // namespace

AsyncServer::AsyncServer(const ServerOptions& options, Metrics* metrics)
    : metrics_(*metrics),
      warnings_(kWarningsPerSecond),
      workers_(options.workers, options.queue_capacity),
      bulk_workers_(options.workers, options.queue_capacity, kBulkNice) {
  for (const auto* descriptor : Services()) {
    std::vector<RawService::Method> methods;
    for (int i = 0; i < descriptor->method_count(); ++i) {
      const auto& method = *descriptor->method(i);
      methods.push_back({.path = MethodPath(method),
                         .streams = method.server_streaming(),
                         .takes_stream = method.client_streaming()});
      // How long a stream takes is its caller's choice.
      slots_.push_back(std::make_unique<MethodSlot>(
          methods.back().path, metrics,
          methods.back().streams ? absl::ZeroDuration() : options.slow_call, &warnings_));
    }
    services_.push_back(std::make_unique<RawService>(methods));
  }
}

absl::StatusOr<std::unique_ptr<AsyncServer>> AsyncServer::Start(const ServerOptions& options,
                                                                Metrics* metrics) {
  std::unique_ptr<AsyncServer> server(new AsyncServer(options, metrics));
  if (absl::Status status = server->Listen(options); !status.ok()) return status;
  return server;
}

absl::Status AsyncServer::Listen(const ServerOptions& options) {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::channelz::experimental::InitChannelzService();

  grpc::ServerBuilder builder;
  if (!options.channelz) builder.SetOption(std::make_unique<WithoutChannelz>());
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
  // Reflection and channelz are the only synchronous services.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
  for (const auto& service : services_) builder.RegisterService(service.get());
  builder.RegisterService(health_.service());
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
                 [this] { return workers_.queued() + bulk_workers_.queued(); });
  metrics_.gauge("vecino_rpc_in_flight", "Calls received and not answered.", {}, [this] {
    const auto both_ways = [this] {
      absl::MutexLock lock(&drain_mutex_);
      return bidis_.size();
    };
    const size_t bidis = both_ways();
    absl::MutexLock lock(&streams_mutex_);
    return active_.load() + static_cast<double>(streams_.size() + bidis);
  });
  SetHealth(false);
  for (const auto& queue : queues_) {
    health_.Serve(queue.get());
    int slot = 0;
    for (size_t s = 0; s < services_.size(); ++s) {
      for (int m = 0; m < Services()[s]->method_count(); ++m, ++slot) {
        for (int i = 0; i < kOutstanding; ++i) {
          if (Services()[s]->method(m)->client_streaming()) {
            BidiCall::Request(this, services_[s].get(), m, slots_[slot].get(), queue.get());
          } else if (Services()[s]->method(m)->server_streaming()) {
            StreamCall::Request(this, services_[s].get(), m, slots_[slot].get(), queue.get());
          } else {
            UnaryCall::Request(this, services_[s].get(), m, slots_[slot].get(), queue.get());
          }
        }
      }
    }
    pollers_.push_back(std::make_unique<QueuePoller>(queue.get(), &ServerCall::HandleEvent));
  }
  return absl::OkStatus();
}

AsyncServer::~AsyncServer() { Drain(absl::ZeroDuration()); }

void AsyncServer::SetHealth(bool serving) {
  for (const auto* service : Services()) {
    health_.Set(service->full_name(), serving);
  }
  for (const char* name : kHealthNames) health_.Set(name, serving);
  health_.Set("", serving);
}

void AsyncServer::Serve(MethodTable methods, StreamTable streams, ShortTable shorts,
                        const BulkTable& bulk, BidiTable bidis) {
  for (const auto& slot : slots_) {
    if (auto method = methods.find(slot->path); method != methods.end()) {
      slot->run = std::move(method->second);
    }
    if (auto stream = streams.find(slot->path); stream != streams.end()) {
      slot->open = std::move(stream->second);
    }
    if (auto bidi = bidis.find(slot->path); bidi != bidis.end()) {
      slot->converse = std::move(bidi->second);
    }
    if (auto is = shorts.find(slot->path); is != shorts.end()) slot->is_short = is->second;
    slot->is_bulk = bulk.contains(slot->path);
  }
  State loading = State::kLoading;
  if (state_.compare_exchange_strong(loading, State::kServing)) SetHealth(true);
}

QueuePoller* AsyncServer::BeginHere(const ServerCall& call) {
  QueuePoller* const poller = QueuePoller::Current();
  const ShortCall& is_short = static_cast<const MethodSlot*>(call.tag_data())->is_short;
  if (poller == nullptr || is_short == nullptr || !is_short(call.request())) return nullptr;
  poller->Begin();
  return poller;
}

WorkerPool& AsyncServer::WorkersFor(const ServerCall& call) {
  return static_cast<const MethodSlot*>(call.tag_data())->is_bulk ? bulk_workers_ : workers_;
}

absl::Status AsyncServer::NotServing(State state) {
  return absl::UnavailableError(state == State::kLoading
                                    ? "the server is loading its collections; try again shortly"
                                    : kStopping);
}

absl::Status AsyncServer::QueueFull() const {
  return absl::ResourceExhaustedError(Concat(
      "the server's queue is full: ", workers_.capacity(), " calls wait for ", workers_.threads(),
      " workers (server.queue-capacity, server.workers); back off and repeat"));
}

template <class Call>
bool AsyncServer::Take(Call* call) {
  QueuePoller* here = nullptr;
  {
    absl::ReaderMutexLock lock(&queues_mutex_);
    if (queues_closed_) return false;
    Call::Request(this, call->service(), call->method(), call->tag_data(), call->queue());
    // Before the state is looked at: so Drain counts it, or the state is kDraining here.
    if constexpr (std::is_same_v<Call, StreamCall>) {
      absl::MutexLock streams_lock(&streams_mutex_);
      streams_.insert(call);
    } else if constexpr (std::is_same_v<Call, BidiCall>) {
      absl::MutexLock bidis_lock(&drain_mutex_);
      bidis_.insert(call);
    } else {
      active_.fetch_add(1);
    }
    const State state = state_.load();
    if (state != State::kServing) {
      call->Finish(ToGrpcStatus(NotServing(state)));
    } else if constexpr (std::is_same_v<Call, BidiCall>) {
      Converse(call);
    } else if (here = BeginHere(*call); here != nullptr) {
      // Below, without the lock.
    } else if (!WorkersFor(*call).TrySubmit([this, call] { RunCall(call); })) {
      call->Finish(ToGrpcStatus(QueueFull()));
    }
  }
  if constexpr (!std::is_same_v<Call, BidiCall>) {
    if (here != nullptr) {
      RunCall(call);
      here->End();
    }
  }
  return true;
}

// Makes a session only, so the queue's thread may.
void AsyncServer::Converse(BidiCall* call) {
  const auto* slot = static_cast<const MethodSlot*>(call->tag_data());
  if (slot->converse == nullptr) {
    call->Finish(ToGrpcStatus(absl::UnimplementedError(Concat(slot->path, " is missing"))));
    return;
  }
  call->Converse(slot->converse(), [&workers = WorkersFor(*call)](std::function<void()> work) {
    return workers.TryContinue(std::move(work));
  });
}

void AsyncServer::RunCall(UnaryCall* call) {
  grpc::ByteBuffer reply;
  const absl::Status status = TryRun(call, &reply);
  call->Finish(reply, ToGrpcStatus(status));
}

// Nobody waits for it any more: a queue that is too long must not fill the server with dead work.
absl::Status AsyncServer::CheckCaller(const engine::CallContext& context) {
  if (context.stop.stop_requested()) return absl::CancelledError("the caller cancelled");
  if (absl::Now() >= context.deadline) {
    return absl::DeadlineExceededError("the deadline passed while the call waited for a worker");
  }
  return absl::OkStatus();
}

absl::Status AsyncServer::TryRun(UnaryCall* call, grpc::ByteBuffer* reply) {
  if (absl::Status status = CheckCaller(*call); !status.ok()) return status;
  const auto* slot = static_cast<const MethodSlot*>(call->tag_data());
  if (slot->run == nullptr) return absl::UnimplementedError(Concat(slot->path, " is missing"));
  return slot->run(call->request(), reply, call->engine_context());
}

void AsyncServer::RunCall(StreamCall* call) {
  grpc::ByteBuffer message;
  const absl::Status opened = TryOpen(call);
  if (opened.ok() && !call->Ready([this, call] { Resume(call); })) return;
  const absl::StatusOr<bool> more =
      opened.ok() ? TryNext(call, &message) : absl::StatusOr<bool>(opened);
  if (more.ok() && *more) {
    call->Write(message);
    return;
  }
  // What the handler says of a stop that the server wished for is not the caller's doing.
  const bool stopped = !more.ok() && call->ending();
  call->Finish(ToGrpcStatus(stopped ? absl::UnavailableError(kStopping) : more.status()));
}

absl::Status AsyncServer::TryOpen(StreamCall* call) {
  if (call->stream() != nullptr) return absl::OkStatus();
  if (absl::Status status = CheckCaller(*call); !status.ok()) return status;
  const auto* slot = static_cast<const MethodSlot*>(call->tag_data());
  if (slot->open == nullptr) return absl::UnimplementedError(Concat(slot->path, " is missing"));
  auto stream = slot->open(call->request(), call->engine_context());
  if (!stream.ok()) return stream.status();
  call->set_stream(*std::move(stream));
  return absl::OkStatus();
}

absl::StatusOr<bool> AsyncServer::TryNext(StreamCall* call, grpc::ByteBuffer* message) {
  if (absl::Status status = CheckCaller(*call); !status.ok()) return status;
  return call->stream()->Next(message);
}

void AsyncServer::Resume(StreamCall* call) {
  if (WorkersFor(*call).TryContinue([this, call] { RunCall(call); })) return;
  // The server is about to end, and its workers are gone.
  absl::ReaderMutexLock lock(&queues_mutex_);
  if (queues_closed_) {
    {
      absl::MutexLock streams_lock(&streams_mutex_);
      streams_.erase(call);
    }
    call->GiveUp();
    return;
  }
  call->Finish(ToGrpcStatus(absl::UnavailableError(kStopping)));
}

bool AsyncServer::OnWritten(StreamCall* call, bool ok) {
  absl::ReaderMutexLock lock(&queues_mutex_);
  if (queues_closed_) {
    absl::MutexLock streams_lock(&streams_mutex_);
    streams_.erase(call);
    return false;
  }
  // The caller has gone, or the server is about to.
  const auto end = [call] {
    call->Finish(ToGrpcStatus(call->ending() ? absl::UnavailableError(kStopping)
                                             : absl::CancelledError("the caller went away")));
  };
  // Also the end is a worker's: what the stream holds may take time to give back.
  WorkerPool& workers = WorkersFor(*call);
  const bool taken =
      ok ? workers.TryContinue([this, call] { RunCall(call); }) : workers.TryContinue(end);
  if (!taken) end();
  return true;
}

void AsyncServer::OnFinished(ServerCall* call) {
  static_cast<MethodSlot*>(call->tag_data())
      ->observer.Finished(call->status(), absl::Now() - call->received(),
                          [call] { return call->peer(); });
  if (auto* stream = dynamic_cast<StreamCall*>(call)) {
    absl::MutexLock lock(&streams_mutex_);
    streams_.erase(stream);
    streams_fewer_.Signal();
  } else if (auto* bidi = dynamic_cast<BidiCall*>(call)) {
    absl::MutexLock lock(&drain_mutex_);
    bidis_.erase(bidi);
    drain_progress_.Signal();
  } else {
    LeaveActive();
  }
}

void AsyncServer::LeaveActive() {
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

// A stream may go on for as long as its caller likes, so a server that stops does not wait for its
// end.
void AsyncServer::EndStreams(absl::Time deadline) {
  absl::MutexLock lock(&streams_mutex_);
  for (StreamCall* call : streams_) call->End();
  while (!streams_.empty() && absl::Now() < deadline) {
    streams_fewer_.WaitWithDeadline(&streams_mutex_, deadline);
  }
  for (StreamCall* call : streams_) call->CutOff(kStopping);
}

bool AsyncServer::EndBidis(absl::Time deadline) {
  // A session's lock is never taken under drain_mutex_.
  const auto sessions = [this] {
    absl::MutexLock lock(&drain_mutex_);
    std::vector<std::shared_ptr<BidiSession>> list;
    for (const BidiCall* call : bidis_) {
      if (auto session = call->session(); session != nullptr) list.push_back(std::move(session));
    }
    return list;
  };
  while (true) {
    absl::flat_hash_set<const BidiSession*> stuck;
    for (const auto& session : sessions()) {
      session->GoAway();
      if (session->StuckFor(kStreamPatience)) stuck.insert(session.get());
    }
    absl::MutexLock lock(&drain_mutex_);
    for (BidiCall* call : bidis_) {
      if (stuck.contains(call->session().get())) call->CutOff(kStopping);
    }
    if (bidis_.empty()) return true;
    if (hurry_ || absl::Now() >= deadline) break;
    drain_progress_.WaitWithDeadline(&drain_mutex_, std::min(deadline, absl::Now() + kLook));
  }
  absl::MutexLock lock(&drain_mutex_);
  for (BidiCall* call : bidis_) call->CutOff(kStopping);
  // Work heeds the cancellation, and what it has handed to a log is waited for: that does not wait
  // for room on the disk. Should it hang all the same, its thread could not be joined either, so
  // going on here would not help; main's StopDeadline does.
  while (!bidis_.empty()) drain_progress_.Wait(&drain_mutex_);
  return false;
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
    EndStreams(std::min(deadline, absl::Now() + kStreamPatience));
    complete = EndBidis(deadline);
    {
      absl::MutexLock lock(&drain_mutex_);
      while (active_.load() > 0 && !hurry_ && absl::Now() < deadline) {
        drain_progress_.WaitWithDeadline(&drain_mutex_, deadline);
      }
      complete = complete && active_.load() == 0;
    }
    direct_stop_.request_stop();
    // Cancels what is left, health watches among it, and waits for it.
    server_->Shutdown(absl::ToChronoTime(absl::Now() + kFlush));
  }
  workers_.Shutdown();
  bulk_workers_.Shutdown();
  {
    absl::MutexLock lock(&queues_mutex_);
    queues_closed_ = true;
  }
  health_.Close();
  for (const auto& poller : pollers_) poller->WaitForRun();
  for (const auto& queue : queues_) queue->Shutdown();
  if (pollers_.empty()) {
    // Never started: the queues must be emptied all the same.
    for (const auto& queue : queues_) QueuePoller(queue.get(), &ServerCall::HandleEvent);
  }
  pollers_.clear();
  return complete;
}

}  // namespace vecino::rpc
