// vecino.v1.DocumentService.IngestDocuments: what its streams share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/engine.h"
#include "server/rpc/bidi_session.h"

namespace vecino::rpc {

class IngestSession;

// Thread safety: all methods are safe from any thread; none blocks.
class IngestHandlers {
 public:
  // Of messages that all streams together may hold, shared out evenly.
  static constexpr int64_t kAllBytes = 256 << 20;

  // `engine` must outlive it, and it its sessions' work.
  explicit IngestHandlers(engine::Engine* engine) : engine_(*engine) {}

  std::shared_ptr<BidiSession> NewSession();

  engine::Engine& engine() { return engine_; }

  // For sessions: bytes that one of them may hold now.
  int64_t ByteShare() const;
  void Opened();
  void Closed();

  // Makes `session` the one of its collection and token. The one before, if it is there still, is
  // told to end.
  void TakeOver(const std::string& collection, const std::string& token,
                const std::shared_ptr<IngestSession>& session);

 private:
  engine::Engine& engine_;
  mutable absl::Mutex mu_;
  int64_t open_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<std::string, std::weak_ptr<IngestSession>> by_token_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::rpc
