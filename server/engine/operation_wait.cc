#include "server/engine/operation_wait.h"

#include <algorithm>
#include <stop_token>

#include "absl/time/clock.h"
#include "server/engine/engine.h"

namespace vecino::engine {

absl::StatusOr<Operation::Info> AwaitOperation(const Operation& operation, TokenWaits* waits,
                                               absl::Duration timeout, const CallContext& context) {
  TokenWaits::Place place(waits);
  if (operation.done() || !place.Take().ok()) return operation.Snapshot();
  std::stop_source stop;  // of the caller or of the engine
  const std::stop_callback caller(context.stop, [&] { stop.request_stop(); });
  const std::stop_callback engine(waits->stop(), [&] { stop.request_stop(); });
  CallContext patience;
  patience.deadline =
      std::min(context.deadline, absl::Now() + std::min(timeout, Engine::kMaxOperationWait));
  patience.stop = stop.get_token();
  const absl::Status waited = operation.Wait(patience);
  if (!waited.ok() && context.stop.stop_requested()) return waited;
  return operation.Snapshot();
}

}  // namespace vecino::engine
