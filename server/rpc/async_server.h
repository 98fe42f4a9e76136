// The gRPC server: listens, hands calls to workers, and stops without losing any.
//
// Why the asynchronous API: one completion-queue thread per core costs the least CPU per call
// (tests/bench/rpc_api_bench.cc measures it beside the callback API; the figures stand in
// docs/operations.md). Its threads move bytes and run calls that are known to be short (see
// queue_poller.h); everything else happens in the worker pool.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/metrics.h"
#include "server/rpc/bidi_call.h"
#include "server/rpc/call_observer.h"
#include "server/rpc/health_service.h"
#include "server/rpc/methods.h"
#include "server/rpc/queue_poller.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/worker_pool.h"

namespace vecino::rpc {

struct ServerOptions {
  std::string listen;                    // HOST:PORT; port 0: a free one
  int threads = 0;                       // completion queues and their threads; 0: one per core
  int workers = 32;                      // threads that run calls; so many more run bulk calls
  int queue_capacity = 1024;             // calls that may wait for a worker, of both each
  int64_t max_message_bytes = 16 << 20;  // of a request
  int64_t memory_bytes = 512 << 20;      // for messages in flight, gRPC's ResourceQuota
  int max_streams = 256;                 // calls open at once on one connection
  bool channelz = false;                 // whether grpc.channelz.v1 tells of connections and peers
  absl::Duration slow_call = absl::Seconds(1);
};

// Thread safety: all methods are safe from any thread, each of Serve and Drain once.
class AsyncServer final : private CallOwner {
 public:
  enum class State { kLoading, kServing, kDraining };

  // Listens at once. Until Serve, every call is answered UNAVAILABLE and health says NOT_SERVING.
  // `metrics` must outlive it; call metrics->RemoveCallbacks() before it is destroyed.
  // FAILED_PRECONDITION with a plain message when it cannot listen: the address is taken, not this
  // machine's, or not allowed.
  static absl::StatusOr<std::unique_ptr<AsyncServer>> Start(const ServerOptions& options,
                                                            Metrics* metrics);
  // Drains with no patience unless Drain was called.
  ~AsyncServer() override;

  // The port it listens on.
  int port() const { return port_; }
  const WorkerPool& workers() const { return workers_; }
  const WorkerPool& bulk_workers() const { return bulk_workers_; }
  State state() const { return state_.load(); }

  // Opens the doors: calls run `methods` and `streams`, health says SERVING. What they use must
  // live until Drain has returned. Those of `bulk` run on threads of their own, of lower priority.
  void Serve(MethodTable methods, StreamTable streams = {}, ShortTable shorts = {},
             const BulkTable& bulk = {}, BidiTable bidis = {});

  // Stops: health says NOT_SERVING and new calls get UNAVAILABLE at once; calls under way may take
  // `patience` before they are cancelled; then the port closes. Streams of replies end with
  // UNAVAILABLE once the message on its way has left, and after a second at most; calls that stream
  // both ways once what was read is answered, and a second later when their caller does not read.
  // Blocks until no thread of the server runs, so for as long as work goes on that heeds no
  // cancellation (main's StopDeadline ends that). True when every call, other than a stream of
  // replies, had the time it needed. Idempotent.
  bool Drain(absl::Duration patience);

  // Ends the patience of a Drain under way or to come.
  void Hurry();

  // What a call that came by another way than gRPC does on its worker: reads a request, runs
  // `method`, writes the reply. May throw bad_alloc.
  using DirectBody =
      std::function<absl::Status(const Method& method, const engine::CallContext& context)>;
  // Runs a unary call that came by another way (HTTP) as one that came by gRPC: the same states,
  // workers, bounds and counters; Drain waits for it, and cancels it when its patience ends. `path`
  // as in MethodTable; `peer` is for log lines. Blocks until `body` has run, or is refused. Returns
  // its status; UNAVAILABLE while the server does not serve, and for calls that Drain cancelled;
  // RESOURCE_EXHAUSTED when the queue is full; DEADLINE_EXCEEDED when the deadline passed in it;
  // UNIMPLEMENTED for a path without a method.
  absl::Status RunDirect(std::string_view path, absl::Time deadline, std::string_view peer,
                         const DirectBody& body);
  // Counts and logs such a call that was refused with `status` before it came to RunDirect.
  void CountRefused(std::string_view path, const absl::Status& status, std::string_view peer);

 private:
  struct MethodSlot {
    MethodSlot(std::string path, Metrics* metrics, absl::Duration slow, WarningLimit* limit)
        : path(path), observer(path, metrics, slow, limit) {}
    const std::string path;
    MethodObserver observer;
    // One of them, set before state_ becomes kServing, not changed after.
    Method run;
    StreamMethod open;
    BidiMethod converse;
    ShortCall is_short = nullptr;  // null: never
    bool is_bulk = false;
  };

  AsyncServer(const ServerOptions& options, Metrics* metrics);

  absl::Status Listen(const ServerOptions& options);
  void SetHealth(bool serving);

  bool OnReceived(UnaryCall* call) override { return Take(call); }
  bool OnReceived(StreamCall* call) override { return Take(call); }
  bool OnReceived(BidiCall* call) override { return Take(call); }
  bool OnWritten(StreamCall* call, bool ok) override;
  void OnFinished(ServerCall* call) override;
  template <class Call>
  bool Take(Call* call);
  // The poller that is to run the call itself, with the run begun; null: a worker is.
  static QueuePoller* BeginHere(const ServerCall& call);
  WorkerPool& WorkersFor(const ServerCall& call);
  // On a worker: the handler of a unary call; the next message of a stream, once it is ready.
  void RunCall(UnaryCall* call);
  void Converse(BidiCall* call);
  void RunCall(StreamCall* call);
  // Hands a stream that waited to a worker.
  void Resume(StreamCall* call);
  absl::Status TryRun(UnaryCall* call, grpc::ByteBuffer* reply);
  absl::Status TryOpen(StreamCall* call);
  absl::StatusOr<bool> TryNext(StreamCall* call, grpc::ByteBuffer* message);
  absl::Status CheckCaller(const ServerCall& call) const {
    return CheckCaller(call.engine_context());
  }
  static absl::Status CheckCaller(const engine::CallContext& context);
  // What calls get in a state that is not kServing, and when the queue is full.
  static absl::Status NotServing(State state);
  absl::Status QueueFull() const;
  MethodSlot* FindSlot(std::string_view path) const;
  absl::Status TryDirect(const MethodSlot& slot, absl::Time deadline, const DirectBody& body);
  void LeaveActive();
  void EndStreams(absl::Time deadline);
  // Lets them answer what they have read until `deadline` or Hurry; true when all could.
  bool EndBidis(absl::Time deadline);

  Metrics& metrics_;
  WarningLimit warnings_;
  std::vector<std::unique_ptr<RawService>> services_;
  HealthService health_;
  std::vector<std::unique_ptr<MethodSlot>> slots_;
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::unique_ptr<QueuePoller>> pollers_;
  int port_ = 0;
  WorkerPool workers_, bulk_workers_;

  std::atomic<State> state_ = State::kLoading;
  std::atomic<int> active_ = 0;   // calls other than streams, received and not finished
  std::stop_source direct_stop_;  // of the calls of RunDirect

  // Held shared while a queue's thread begins operations; exclusively to say that none may begin.
  absl::Mutex queues_mutex_;
  bool queues_closed_ ABSL_GUARDED_BY(queues_mutex_) = false;

  // Every stream that was received and is not finished.
  absl::Mutex streams_mutex_;
  absl::flat_hash_set<StreamCall*> streams_ ABSL_GUARDED_BY(streams_mutex_);
  absl::CondVar streams_fewer_;

  absl::Mutex drain_mutex_;
  absl::CondVar drain_progress_;
  // Every call that streams both ways and is not finished.
  absl::flat_hash_set<BidiCall*> bidis_ ABSL_GUARDED_BY(drain_mutex_);
  bool hurry_ ABSL_GUARDED_BY(drain_mutex_) = false;
  bool drained_ ABSL_GUARDED_BY(drain_mutex_) = false;
};

}  // namespace vecino::rpc
