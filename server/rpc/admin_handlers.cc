#include "server/rpc/admin_handlers.h"

#include <unistd.h>

#include <fstream>

#include "server/rpc/conversions.h"
#include "server/rpc/event_stream.h"
#include "server/rpc/resource_names.h"

namespace vecino::rpc {

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0, resident = 0;
  if (!(statm >> total >> resident)) return 0;
  return resident * sysconf(_SC_PAGESIZE);
}

absl::Status AdminHandlers::GetServerStatus(const v1::GetServerStatusRequest&,
                                            v1::GetServerStatusResponse* response,
                                            const engine::CallContext&) {
  response->set_version(facts_.version);
  WriteTime(facts_.start_time, response->mutable_start_time());
  WriteDuration(facts_.load_duration, response->mutable_load_duration());
  response->set_data_dir(facts_.data_dir);
  for (const engine::CollectionInfo& info : engine_.ListCollections()) {
    // NOT_FOUND: deleted meanwhile.
    const auto count = engine_.Count(info.spec.id);
    if (absl::IsNotFound(count.status())) continue;
    if (!count.ok()) return count.status();
    response->set_collections(response->collections() + 1);
    response->set_documents(response->documents() + *count);
  }
  int queued = 0, capacity = 0, threads = 0;
  for (const WorkerPool* pool : {&workers_, bulk_workers_}) {
    if (pool == nullptr) continue;
    queued += pool->queued();
    capacity += pool->capacity();
    threads += pool->threads();
  }
  response->set_queued_requests(queued);
  response->set_queue_capacity(capacity);
  response->set_workers(threads);
  const encoder::EncoderStats encoder = engine_.EncoderStats();
  response->set_encoder_queued_tokens(encoder.queued_tokens);
  response->set_encoder_queue_capacity_tokens(encoder.queue_capacity);
  response->set_encoder_executors(encoder.executors);
  response->set_cpu(facts_.cpu);
  response->set_resident_bytes(ResidentBytes());
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MessageStream>> AdminHandlers::WatchEvents(
    const v1::WatchEventsRequest& request, const engine::CallContext&) {
  std::string collection;
  if (!request.collection().empty()) {
    auto id = ParseCollectionName("collection", request.collection());
    if (!id.ok()) return id.status();
    collection = *std::move(id);
  }
  auto watcher = engine_.WatchEvents(collection);
  if (!watcher.ok()) return watcher.status();
  return std::make_unique<EventStream>(*std::move(watcher));
}

}  // namespace vecino::rpc
