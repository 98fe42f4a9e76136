// Calls that came by another way than gRPC.
#include <exception>
#include <memory>
#include <new>

#include "server/rpc/async_server.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// What the worker hands back to the thread that waits.
struct Outcome {
  absl::Mutex mutex;
  absl::CondVar told;
  bool done ABSL_GUARDED_BY(mutex) = false;
  absl::Status status ABSL_GUARDED_BY(mutex);
};

}  // namespace

AsyncServer::MethodSlot* AsyncServer::FindSlot(std::string_view path) const {
  for (const auto& slot : slots_) {
    if (slot->path == path) return slot.get();
  }
  return nullptr;
}

absl::Status AsyncServer::TryDirect(const MethodSlot& slot, absl::Time deadline,
                                    const DirectBody& body) {
  if (const State state = state_.load(); state != State::kServing) return NotServing(state);
  if (slot.run == nullptr) return absl::UnimplementedError(Concat(slot.path, " is missing"));
  const engine::CallContext context{.deadline = deadline, .stop = direct_stop_.get_token()};
  const auto run = [&]() -> absl::Status {
    if (absl::Status status = CheckCaller(context); !status.ok()) return status;
    try {
      return body(slot.run, context);
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("the server has no memory left for this call");
    } catch (const std::exception& error) {
      return absl::InternalError(error.what());
    }
  };
  const auto outcome = std::make_shared<Outcome>();
  WorkerPool& workers = slot.is_bulk ? bulk_workers_ : workers_;
  const bool taken = workers.TrySubmit([&run, outcome] {
    absl::Status status = run();
    absl::MutexLock lock(&outcome->mutex);
    outcome->status = std::move(status);
    outcome->done = true;
    outcome->told.Signal();
  });
  if (!taken) {
    // The workers' end comes after the state's.
    const State state = state_.load();
    return state == State::kServing ? QueueFull() : NotServing(state);
  }
  absl::MutexLock lock(&outcome->mutex);
  while (!outcome->done) outcome->told.Wait(&outcome->mutex);
  // Only the server's stop cancels such a call.
  return absl::IsCancelled(outcome->status) ? NotServing(State::kDraining) : outcome->status;
}

absl::Status AsyncServer::RunDirect(std::string_view path, absl::Time deadline,
                                    std::string_view peer, const DirectBody& body) {
  MethodSlot* const slot = FindSlot(path);
  if (slot == nullptr) return absl::UnimplementedError(Concat("there is no method ", path));
  const absl::Time start = absl::Now();
  active_.fetch_add(1);  // before the state is looked at, as in Take
  const absl::Status status = TryDirect(*slot, deadline, body);
  slot->observer.Finished(ToGrpcStatus(status), absl::Now() - start,
                          [peer] { return std::string(peer); });
  LeaveActive();
  return status;
}

void AsyncServer::CountRefused(std::string_view path, const absl::Status& status,
                               std::string_view peer) {
  if (MethodSlot* const slot = FindSlot(path); slot != nullptr) {
    slot->observer.Finished(ToGrpcStatus(status), absl::ZeroDuration(),
                            [peer] { return std::string(peer); });
  }
}

}  // namespace vecino::rpc
