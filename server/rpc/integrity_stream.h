// AdminService.VerifyIntegrity: what a check finds, as messages.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "server/engine/snapshots.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/admin_service.pb.h"

namespace vecino::rpc {

// Holds no thread of the server while the check has nothing to say. The check ends with it.
class IntegrityStream final : public TypedStream<v1::VerifyIntegrityResponse> {
 public:
  explicit IntegrityStream(std::unique_ptr<engine::IntegrityCheck> check)
      : check_(std::move(check)) {}

  bool Ready(const std::function<void()>& wake) override { return check_->WakeWhenReady(wake); }

 private:
  absl::StatusOr<bool> Fill(v1::VerifyIntegrityResponse* response) override;

  const std::unique_ptr<engine::IntegrityCheck> check_;
};

}  // namespace vecino::rpc
