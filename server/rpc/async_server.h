// The gRPC server: listens, hands calls to workers, and stops without losing any.
//
// Why the asynchronous API: one completion-queue thread per core costs the least CPU per call
// (tests/bench/rpc_api_bench.cc measures it beside the callback API; the figures stand in
// docs/operations.md). Its threads only move bytes; parsing and everything else happens in the
// worker pool.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/metrics.h"
#include "server/rpc/call_observer.h"
#include "server/rpc/methods.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/worker_pool.h"

namespace vecino::rpc {

struct ServerOptions {
  std::string listen;                    // HOST:PORT; port 0: a free one
  int threads = 0;                       // completion queues and their threads; 0: one per core
  int workers = 32;                      // threads that run calls
  int queue_capacity = 1024;             // calls that may wait for a worker
  int64_t max_message_bytes = 16 << 20;  // of a request
  int64_t memory_bytes = 512 << 20;      // for messages in flight, gRPC's ResourceQuota
  int max_streams = 256;                 // calls open at once on one connection
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
  State state() const { return state_.load(); }

  // Opens the doors: calls run `methods`, health says SERVING. What the methods use must live until
  // Drain has returned.
  void Serve(MethodTable methods);

  // Stops: health says NOT_SERVING and new calls get UNAVAILABLE at once; calls under way may take
  // `patience` before they are cancelled; then the port closes. Blocks until no thread of the
  // server runs. True when every call had the time it needed. Idempotent.
  bool Drain(absl::Duration patience);

  // Ends the patience of a Drain under way or to come.
  void Hurry();

 private:
  struct MethodSlot {
    MethodSlot(std::string path, Metrics* metrics, absl::Duration slow, WarningLimit* limit)
        : path(path), observer(path, metrics, slow, limit) {}
    const std::string path;
    MethodObserver observer;
    Method run;  // set before state_ becomes kServing, not changed after
  };

  AsyncServer(const ServerOptions& options, Metrics* metrics);

  absl::Status Listen(const ServerOptions& options);
  void SetHealth(bool serving);
  void PollQueue(grpc::ServerCompletionQueue* queue);

  void OnReceived(UnaryCall* call) override;
  void OnFinished(UnaryCall* call) override;
  // On a worker.
  void RunCall(UnaryCall* call);
  absl::Status TryRun(UnaryCall* call, grpc::ByteBuffer* reply);

  Metrics& metrics_;
  WarningLimit warnings_;
  std::vector<std::unique_ptr<RawService>> services_;
  std::vector<std::unique_ptr<MethodSlot>> slots_;
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::thread> pollers_;
  int port_ = 0;
  WorkerPool workers_;

  std::atomic<State> state_ = State::kLoading;
  std::atomic<int> active_ = 0;  // received and not finished

  // Held shared while a queue's thread begins operations; exclusively to say that none may begin.
  absl::Mutex queues_mutex_;
  bool queues_closed_ ABSL_GUARDED_BY(queues_mutex_) = false;

  absl::Mutex drain_mutex_;
  absl::CondVar drain_progress_;
  bool hurry_ ABSL_GUARDED_BY(drain_mutex_) = false;
  bool drained_ ABSL_GUARDED_BY(drain_mutex_) = false;
};

}  // namespace vecino::rpc
