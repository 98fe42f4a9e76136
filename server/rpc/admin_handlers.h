// vecino.v1.AdminService without gRPC.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/engine.h"
#include "server/rpc/message_stream.h"
#include "server/rpc/worker_pool.h"
#include "vecino/v1/admin_service.pb.h"

namespace vecino::rpc {

// What GetServerStatus says and does not change while the server runs.
struct ServerFacts {
  std::string version;
  std::string data_dir;
  std::string cpu;
  absl::Time start_time;
  absl::Duration load_duration;
};

// Thread safety: safe from any thread; does not block for long.
class AdminHandlers {
 public:
  // `engine` and the workers must outlive it. bulk_workers: null where there are none.
  AdminHandlers(engine::Engine* engine, const WorkerPool* workers, ServerFacts facts,
                const WorkerPool* bulk_workers = nullptr)
      : engine_(*engine),
        workers_(*workers),
        bulk_workers_(bulk_workers),
        facts_(std::move(facts)) {}

  absl::Status GetServerStatus(const v1::GetServerStatusRequest& request,
                               v1::GetServerStatusResponse* response,
                               const engine::CallContext& context);
  absl::StatusOr<std::unique_ptr<MessageStream>> WatchEvents(const v1::WatchEventsRequest& request,
                                                             const engine::CallContext& context);

 private:
  engine::Engine& engine_;
  const WorkerPool& workers_;
  const WorkerPool* const bulk_workers_;
  const ServerFacts facts_;
};

// Resident memory of this process in bytes, 0 when the system does not say.
int64_t ResidentBytes();

}  // namespace vecino::rpc
