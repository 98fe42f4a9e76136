// AdminService.WatchEvents: events as messages, for as long as the caller listens.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "server/engine/event_bus.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/admin_service.pb.h"

namespace vecino::rpc {

// Holds no thread while nothing happens. Ends only by an error or by the caller.
class EventStream final : public TypedStream<v1::WatchEventsResponse> {
 public:
  explicit EventStream(std::unique_ptr<engine::EventBus::Watcher> watcher)
      : watcher_(std::move(watcher)) {}

  // The first message is due at once.
  bool Ready(const std::function<void()>& wake) override {
    return !begun_ || watcher_->WakeWhenReady(wake);
  }

 private:
  absl::StatusOr<bool> Fill(v1::WatchEventsResponse* response) override;

  const std::unique_ptr<engine::EventBus::Watcher> watcher_;
  bool begun_ = false;
};

}  // namespace vecino::rpc
