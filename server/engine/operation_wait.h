// Waiting for an operation's end, as a call does.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/operation.h"
#include "server/engine/token_waits.h"
#include "server/engine/types.h"

namespace vecino::engine {

// The operation when it is done, or as it is when `timeout`, Engine::kMaxOperationWait or the
// caller's deadline has passed, when `waits` has no place left, and after its Stop. CANCELLED when
// the caller went away. Blocks.
absl::StatusOr<Operation::Info> AwaitOperation(const Operation& operation, TokenWaits* waits,
                                               absl::Duration timeout, const CallContext& context);

}  // namespace vecino::engine
