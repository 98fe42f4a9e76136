#include "server/rpc/ingest_handlers.h"

#include <algorithm>

#include "server/rpc/ingest_session.h"
#include "server/rpc/text.h"

namespace vecino::rpc {

std::shared_ptr<BidiSession> IngestHandlers::NewSession() {
  return std::make_shared<IngestSession>(this);
}

int64_t IngestHandlers::ByteShare() const {
  absl::MutexLock lock(&mu_);
  return kAllBytes / std::max<int64_t>(open_, 1);
}

void IngestHandlers::Opened() {
  absl::MutexLock lock(&mu_);
  ++open_;
}

void IngestHandlers::Closed() {
  absl::MutexLock lock(&mu_);
  --open_;
}

void IngestHandlers::TakeOver(const std::string& collection, const std::string& token,
                              const std::shared_ptr<IngestSession>& session) {
  std::shared_ptr<IngestSession> before;
  {
    absl::MutexLock lock(&mu_);
    absl::erase_if(by_token_, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<IngestSession>& entry = by_token_[Concat(collection, "/", token)];
    before = entry.lock();
    entry = session;
  }
  if (before != nullptr && before != session) before->Supersede();
}

}  // namespace vecino::rpc
