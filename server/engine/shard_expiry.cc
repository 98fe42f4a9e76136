// How documents that have expired leave a shard.
#include <utility>
#include <vector>

#include "server/engine/shard.h"

namespace vecino::engine {

absl::StatusOr<int> Shard::ReapExpired(int limit, const CallContext& context) {
  const std::vector<uint64_t> due = expiries_.FirstDue(NowUs(), static_cast<size_t>(limit));
  if (due.empty()) return 0;
  constexpr storage::DocumentParts kIdOnly = {.text = false, .metadata = false, .vector = false};
  auto documents = log_->GetDocuments(due, kIdOnly);
  if (!documents.ok()) return documents.status();
  std::vector<ShardWrite> writes;
  writes.reserve(due.size());
  for (size_t i = 0; i < due.size(); ++i) {
    if (!(*documents)[i].has_value()) continue;  // replaced just now
    ShardWrite& write = writes.emplace_back();
    write.kind = storage::Mutation::Kind::kDelete;
    write.document.id = std::move((*documents)[i]->id);
    write.etag = EtagOf(options_.uid, due[i]);
    write.expired = true;
  }
  if (writes.empty()) return 0;
  Write(absl::MakeSpan(writes), context);
  int reaped = 0;
  for (const ShardWrite& write : writes) {
    const absl::Status& status = write.result.status;
    // Aborted: a newer version came in between, which has removed this one.
    if (!status.ok() && !absl::IsAborted(status)) return status;
    reaped += status.ok();
  }
  metrics_->expired.Add(reaped);
  return reaped;
}

}  // namespace vecino::engine
